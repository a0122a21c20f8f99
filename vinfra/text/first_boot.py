"""Data for a machine's first boot that stands in files beside the blueprint: `{file: PATH}` becomes what is in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from vinfra.model.source import Pointer
from vinfra.model.spec import Spec
from vinfra.model.values import FromFile
from vinfra.text.paths import beside

_NAMES = ("user_data", "vendor_data", "network_config")
_WHOLE = "cloud_init"


class _Unreadable(Exception):
    """Why a file is no use."""


def with_files(
    values: dict[str, Any], spec: type[Spec], directory: Path, say: Callable[[Pointer, str], None]
) -> dict[str, Any]:
    """The fields of a machine or of its seed, with the files read; what is wrong with them is said."""
    if _WHOLE in spec.model_fields and isinstance(values.get(_WHOLE), dict):
        return {**values, _WHOLE: _read(values[_WHOLE], (_WHOLE,), directory, say)}
    return _read(values, (), directory, say) if "user_data" in spec.model_fields else values


def _read(values: dict[str, Any], at: Pointer, directory: Path, say: Callable[[Pointer, str], None]) -> dict[str, Any]:
    found = {}
    for name in _NAMES:
        value = values.get(name)
        if isinstance(value, dict) and set(value) == {"file"} and isinstance(value["file"], str):
            try:
                found[name] = _content(name, value["file"], directory)
            except _Unreadable as error:
                say((*at, name, "file"), str(error))
                found[name] = None
    return {**values, **found}


def _content(name: str, written: str, directory: Path) -> Any:
    path = beside(directory.absolute(), written)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _Unreadable(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if name != "network_config":
        return FromFile(text, written)
    try:
        config = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _Unreadable(f"{written}{line}: no YAML: {error.problem}") from None
    if not isinstance(config, dict):
        raise _Unreadable(f"{written}: write a mapping")
    return config
