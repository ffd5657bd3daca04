"""Values of a labeling config's attributes from a task's data, as in Label Studio's editor.

Source: Label Studio 1.23, web/libs/editor/src/utils/data.js (parseValue), and ``get`` of es-toolkit, which is lodash's.
"""

import re
from collections.abc import Mapping
from typing import Any

_FIELD = re.compile(r"\$[A-Za-z0-9_\[\].{}]+")
_KEYS = re.compile(r"\[([^\]]*)\]|([^.\[]+)")


def has_field(text: str) -> bool:
    """True if an attribute refers to a field of the task's data."""
    return bool(_FIELD.search(text))


def is_field(text: str) -> bool:
    """True if an attribute is a single field of the task's data, ``$video`` or ``$media.video``, without text around it."""
    return bool(_FIELD.fullmatch(text))


def field_value(path: str, data: Mapping[str, Any]) -> Any:
    """Value at ``media.video`` or ``videos[0]`` in a task's data; None if missing. A key with the dot in it comes first."""
    if path in data:
        return data[path]
    value: Any = data if not path.startswith(".") else data.get("")
    for in_brackets, plain in _KEYS.findall(path):
        value = _member(value, in_brackets or plain)
    return None if value is data else value


def attribute_value(text: str, data: Mapping[str, Any]) -> Any:
    """Value of an attribute for a task: for ``$field`` alone the field's value, otherwise the text with values filled in.

    None if a field is missing, or its value cannot be part of a text.
    """
    if text.startswith("$") and (is_field(text) or text[1:] in data):
        return field_value(text[1:], data)
    values = {field: _as_text(field_value(field[1:], data)) for field in _FIELD.findall(text)}
    if None in values.values():
        return None
    return _FIELD.sub(lambda match: str(values[match[0]]), text)


def _member(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and key.isascii() and key.isdecimal() and len(key) < 10 and int(key) < len(value):
        return value[int(key)]
    return None


def _as_text(value: Any) -> str | None:
    """Text of a value as in JavaScript."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None
