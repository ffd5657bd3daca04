"""Check that a file has all bytes that its container declares, so that it is certainly not truncated."""

import os
import struct
from pathlib import Path
from typing import BinaryIO

# Elements of Matroska (RFC 9559): the header, the segment, which contains all others, and those that may be in it.
EBML, SEGMENT = 0x1A45DFA3, 0x18538067
IN_SEGMENT = {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF}
RIFF = struct.Struct("<4sI4s")
CHUNK = struct.Struct("<4sI")
# Windows media: id of the first object, and the beginning of the ids of others.
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_OBJECT = struct.Struct("<16sQ")
FLV_TAG_HEADER = 11


def is_whole(path: Path, container: str) -> bool:
    """True if a file certainly has all bytes that its container declares. container: FFmpeg's name.

    False if that is unknown: for MP4, whose pictures have durations, and for containers without a declared end.
    """
    checks = {"matroska,webm": _whole_matroska, "avi": _whole_avi, "asf": _whole_asf, "flv": _whole_flv}
    if container not in checks:
        return False
    with path.open("rb") as file:
        return checks[container](file, os.fstat(file.fileno()).st_size)


def _whole_matroska(file: BinaryIO, size: int) -> bool:
    """True if a segment of known length is filled by valid elements, each with its length."""
    header = _element(file, 0)
    segment = _element(file, header[2]) if header and header[0] == EBML else None
    if not segment or segment[0] != SEGMENT or segment[2] > size:
        return False
    at, stop = segment[1:]
    while at < stop:
        element = _element(file, at)
        if not element or element[0] not in IN_SEGMENT or element[2] > stop:
            return False
        at = element[2]
    return at == stop


def _element(file: BinaryIO, at: int) -> tuple[int, int, int] | None:
    """Id of the element at a position, and start and stop of its content; None if it is invalid or of unknown length."""
    file.seek(at)
    head = file.read(12)
    name_bytes = _num_bytes(head, 0)
    size_bytes = _num_bytes(head, name_bytes)
    if not name_bytes or not size_bytes or len(head) < name_bytes + size_bytes:
        return None
    name = int.from_bytes(head[:name_bytes], "big")
    unknown = (1 << 7 * size_bytes) - 1
    length = int.from_bytes(head[name_bytes : name_bytes + size_bytes], "big") & unknown
    start = at + name_bytes + size_bytes
    return None if length == unknown else (name, start, start + length)


def _num_bytes(head: bytes, at: int) -> int:
    """Length in bytes of the number at a position, given by its first set bit; 0 if there is none."""
    return 9 - head[at].bit_length() if at < len(head) and head[at] else 0


def _whole_avi(file: BinaryIO, size: int) -> bool:
    """True if the file consists of RIFF parts up to its end, each filled by named chunks."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(RIFF.size)
        if len(head) < RIFF.size:
            return False
        name, length, kind = RIFF.unpack(head)
        stop = at + 8 + int(length)
        if name != b"RIFF" or kind not in (b"AVI ", b"AVIX") or stop > size or not _has_named_chunks(file, at + 12, stop):
            return False
        at = _even(stop)
    return at in (size, size + 1)


def _has_named_chunks(file: BinaryIO, at: int, stop: int) -> bool:
    while at + CHUNK.size <= stop:
        file.seek(at)
        name, length = CHUNK.unpack(file.read(CHUNK.size))
        if not name.isascii() or not name.decode("ascii").isprintable():
            return False
        at = _even(at + CHUNK.size + int(length))
    return at in (stop, stop + 1)


def _even(position: int) -> int:
    """Beginning of the next chunk: RIFF pads chunks to an even number of bytes."""
    return position + position % 2


def _whole_asf(file: BinaryIO, size: int) -> bool:
    """True if objects, each with its length, fill the file to its end."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(ASF_OBJECT.size)
        if len(head) < ASF_OBJECT.size or (at == 0 and not head.startswith(ASF_HEADER)):
            return False
        length = int(ASF_OBJECT.unpack(head)[1])
        if length < ASF_OBJECT.size:
            return False
        at += length
    return at == size


def _whole_flv(file: BinaryIO, size: int) -> bool:
    """True if the last tag has the length given by the last four bytes."""
    if size < FLV_TAG_HEADER + 8:
        return False
    file.seek(size - 4)
    length = int.from_bytes(file.read(4), "big")
    if not FLV_TAG_HEADER < length <= size - 8:
        return False
    file.seek(size - 4 - length)
    return int.from_bytes(file.read(4)[1:], "big") == length - FLV_TAG_HEADER
