"""Text of others, made harmless.

Names, values and error texts come from files and machines that somebody else may control. Nothing reaches a terminal
but through `visible`, which shows a control character instead of passing it on.
"""

import unicodedata

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Control, format (bidirectional overrides, zero width), surrogate, private, unassigned, line and paragraph separator.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(value: object) -> str:
    """Text as it is, every character that a terminal would act on replaced by its escape."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char) if unicodedata.category(char) in _UNSEEN else char for char in text)


def _shown(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, kept by surrogateescape
        code -= 0xDC00
    return _NAMED.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def lines_of(value: str | bytes | None) -> list[str]:
    """Text in lines, ends kept, split at line feeds only."""
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value or ""
    *whole, rest = text.split("\n")
    return [*(line + "\n" for line in whole), *([rest] if rest else [])]


def shortened(text: str, limit: int = 60) -> str:
    """The beginning of a long text."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def several(count: int, noun: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
