"""Files besides its own that an ONNX file reads, found without running anything in it.

An ONNX file is a protocol buffer. Only its structure is followed here, down to tensors and the locations of their data.
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from framewise.core.errors import BackboneError

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
MAX_DEPTH = 64
# Message -> number of each field that leads to tensors, and the message in it.
PARTS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
KEY, VALUE = 1, 2  # fields of an entry


def external_files(path: Path) -> list[str]:
    """Names of the files with data of an ONNX file, as they are written in it. Raises BackboneError if it is damaged."""
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last view of it
        return sorted(set(_locations(memoryview(content), "model")))
    except (ValueError, IndexError) as error:
        raise BackboneError(f"{path.name}: expected an ONNX file, found something else ({error}); is it complete?") from None


def _locations(message: memoryview, kind: str, depth: int = 0) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if kind == "entry":
        entry = {number: bytes(value).decode("utf-8", "replace") for number, value in _fields(message)}
        if entry.get(KEY) == "location":
            yield entry.get(VALUE, "")
        return
    for number, value in _fields(message):
        if part := PARTS[kind].get(number):
            yield from _locations(value, part, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of variable length; others are skipped."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind, length = tag & 7, 0
        if kind == VARINT:
            _, place = _varint(message, place)
        elif kind == BYTES:
            length, place = _varint(message, place)
            if place + length > len(message):
                raise ValueError("a part is longer than the whole")
            yield tag >> 3, message[place : place + length]
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            length = 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of type {kind}")
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
