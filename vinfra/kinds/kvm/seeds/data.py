"""Data for cloud-init as fields take it: checked as far as it is known, and complained of where it is wrong."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from vinfra.kinds.kvm.seeds import cloud_config, network_config
from vinfra.model.secret import Secret


def user_data(value: Any) -> Any:
    """A mapping, or text that begins with a header. Raises ValueError, at the part of it that is wrong."""
    if isinstance(value, Mapping):
        _complain(cloud_config.faults(value), value)
    elif isinstance(value, str):
        _complain(cloud_config.text_faults(value), None)
    elif value is not None and not isinstance(value, Secret):
        raise ValueError(f"write a mapping, or text such as a script or one that begins with {cloud_config.HEADER}")
    return value


def network(value: Any) -> Any:
    """A mapping, as cloud-init's network configuration. Raises ValueError, at the part of it that is wrong."""
    if isinstance(value, Mapping):
        _complain(network_config.faults(value), value)
    elif value is not None:
        raise ValueError("write a mapping")
    return value


def _complain(faults: Iterable[cloud_config.Fault], value: Any) -> None:
    told: list[InitErrorDetails] = [
        {
            "type": PydanticCustomError("cloud_init", "{said}", {"said": fault.message}),
            "loc": fault.pointer,
            "input": None,
        }
        for fault in faults
    ]
    if told:
        raise ValidationError.from_exception_data("cloud-init", told, hide_input=True)
