"""What `nft -j` prints (libnftables-json(5)), in the words in which one writes it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def listed(items: Sequence[str]) -> str:
    """In one order, whatever order the kernel tells them in."""
    return items[0] if len(items) == 1 else f"{{ {', '.join(sorted(items, key=lambda item: item.zfill(5)))} }}"


def objects(text: str) -> list[dict[str, Any]]:
    """What is in it, one after the other: tables, chains, rules, sets."""
    try:
        items = json.loads(text)["nftables"]
    except (ValueError, KeyError, TypeError):
        return []
    return [item for item in items if isinstance(item, dict) and item]


def plain(told: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the number by which the kernel knows it."""
    return {key: value for key, value in told.items() if key != "handle"}


def worded(part: Mapping[str, Any]) -> str:
    """One part of a rule as it would be written, those that we write ourselves; JSON for all others."""
    match part:
        case {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": str(name)}}:
            return f'iifname "{name}"'
        case {"match": {"op": "==", "left": {"meta": {"key": str(key)}}, "right": right}}:
            return f"meta {key} {_value(right)}"
        case {"match": {"op": "==", "left": {"payload": {"protocol": str(name), "field": str(key)}}, "right": right}}:
            return f"{name} {key} {_value(right)}"
        case {"vmap": {"key": {"ct": {"key": str(key)}}, "data": {"set": list(pairs)}}}:
            return f"ct {key} vmap {{ {', '.join(f'{name} : {next(iter(verdict))}' for name, verdict in pairs)} }}"
        case {"reject": {"type": str(sort), "expr": str(what)}}:
            return f"reject with {sort} {what}"
        case {"accept": None}:
            return "accept"
        case {"drop": None}:
            return "drop"
    return json.dumps(part, sort_keys=True)


def _value(told: Any) -> str:
    match told:
        case {"set": list(items)}:
            return listed([_value(item) for item in items])
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{first}-{last}"
    return str(told)
