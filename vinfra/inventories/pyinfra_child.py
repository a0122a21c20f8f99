"""Runs in a process of its own, by its path: executes a pyinfra inventory, and writes what it makes as JSON.

pyinfra's inventories are Python, so what stands in them is done. What they print goes to stderr; the answer goes to the
descriptor that was standard output. Nothing of vinfra is imported here.
"""

import ast
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


def main(file: Path) -> None:
    """Write one JSON object: `groups` with hosts and data, `problem` when the file cannot be used."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path.cwd()))
    sys.argv = [str(file)]
    try:
        result: dict[str, Any] = {"groups": _groups(file)}
    except SyntaxError as error:
        result = {"problem": f"no Python: {error.msg}", "file": error.filename or str(file), "line": error.lineno or 1}
    except BaseException as error:
        result = {"problem": f"{type(error).__name__}: {error}", **_place(error, file)}
    try:
        text = json.dumps(result)
    except (TypeError, ValueError, RecursionError) as error:
        text = json.dumps({"problem": f"its data cannot be written as JSON: {error}", "file": str(file), "line": 1})
    answer.write(text)
    answer.flush()
    os._exit(0)


def _place(error: BaseException, file: Path) -> dict[str, Any]:
    """The last line of the inventory's own files that the error passed."""
    found = {"file": str(file), "line": 1}
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if Path(name).is_relative_to(file.parent):
            found = {"file": name, "line": trace.tb_lineno}
        trace = trace.tb_next
    return found


def _groups(file: Path) -> list[dict[str, Any]]:
    """The groups in order, `all` first; data of group_data/ files added."""
    found = {name: value for name, value in runpy.run_path(str(file)).items() if _is_group(name, value)}
    written = {name: _taken_apart(value) for name, value in found.items()}
    data: dict[str, dict[str, Any]] = {}
    for folder in dict.fromkeys((Path.cwd() / "group_data", file.parent / "group_data")):
        for path in sorted(folder.glob("*.py")) if folder.is_dir() else ():
            data.setdefault(path.stem, {}).update(_data(path))
    if "all" not in written:
        names = dict.fromkeys(name for hosts, _ in written.values() for name, _ in hosts)
        written["all"] = ([(name, {}) for name in names], {})
    written.setdefault(file.stem, ([(name, {}) for name, _ in written["all"][0]], {}))
    lines = _lines(file)
    return [
        {"name": name, "hosts": hosts, "data": {**own, **data.get(name, {})}, "line": lines.get(name, 1)}
        for name, (hosts, own) in written.items()
    ]


def _is_group(name: str, value: Any) -> bool:
    if name.startswith("_"):
        return False
    hosts = value[0] if isinstance(value, tuple) and value else value
    return isinstance(hosts, list | tuple) and all(isinstance(item, str | tuple) for item in hosts)


def _taken_apart(value: Any) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    hosts, data = value if isinstance(value, tuple) else (value, {})
    return [_host(item if isinstance(item, tuple) else (item, {})) for item in hosts], dict(data)


def _host(item: tuple[Any, ...]) -> tuple[str, dict[str, Any]]:
    if len(item) != 2 or not isinstance(item[0], str) or not isinstance(item[1], dict):
        raise ValueError(f"a host is a name, or a name with a dict of its data, not {item!r}")
    return item[0], item[1]


def _data(path: Path) -> dict[str, Any]:
    imported = set()
    for node in ast.parse(path.read_text(encoding="utf-8"), str(path)).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    values = runpy.run_path(str(path))
    names = values.get("__all__", [name for name in values if name not in imported])
    return {name: values[name] for name in names if not name.startswith("_")}


def _lines(file: Path) -> dict[str, int]:
    found = {}
    for node in ast.parse(file.read_text(encoding="utf-8"), str(file)).body:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name):
                found[target.id] = target.lineno
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
