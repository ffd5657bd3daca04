"""Shell commands that convert a file to one that browsers play, and messages on files that are no videos."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePath

from framewise.media.declared import has_index, is_checked_mp4

H264 = "-c:v libx264 -pix_fmt yuv420p -movflags +faststart"
# Suffixes of converted files whose originals have none, by FFmpeg's names of containers.
SUFFIXES = {"mov,mp4,m4a,3gp,3g2,mj2": ".mp4", "avi": ".avi", "flv": ".flv", "mpegts": ".ts", "ogg": ".ogv", "asf": ".wmv"}
SOUND_IN_MP4 = {"", "aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}  # only some versions of FFmpeg write others
EVEN_SIZES = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # H.264 stores colours at half the size, so sizes must be even

_PICTURES = {b"\x89PNG": "a PNG", b"\xff\xd8\xff": "a JPEG", b"BM": "a BMP"}
_UNIT_BEGINS = (b"\0\0\0\1", b"\0\0\1")
_H264_UNITS, _H265_UNITS = {6, 7, 9}, {0x40, 0x42, 0x46}  # first units of a stream: parameters, a delimiter, information
# First bytes of other kinds of files: those that FFmpeg converts, and archives.
_CONVERTED = {
    b"\x06\x0e\x2b\x34": "MXF", b"\x1f\x07\x00": "DV", b".RMF": "RealMedia", b"YUV4MPEG2": "Y4M", b"DKIF": "IVF",
    b"nut/multimedia": "NUT", b"FORM": "AIFF", b"caff": "Core Audio", b"#!AMR": "AMR", b".snd": "Sun audio",
}  # fmt: skip
_ARCHIVES = {b"PK\3\4": "a ZIP archive", b"\x1f\x8b": "a gzip archive", b"Rar!": "a RAR archive", b"7z\xbc\xaf": "a 7z archive"}
_LENGTH = 512  # bytes at the beginning of a file that identify its format


def converting(name: str, addition: str, filters: Sequence[str] = ()) -> str:
    """Command that converts a file to H.264 in MP4. addition: to its name. filters: of FFmpeg, in order."""
    chosen = f"-vf {shlex.quote(','.join(filters))} " if filters else ""
    return f"ffmpeg -i {shlex.quote(name)} {chosen}{H264} {new_name(name, addition)}"


def to_flac(name: str) -> str:
    """Command that converts the sound of a file to FLAC."""
    return f"ffmpeg -i {shlex.quote(name)} -vn {new_name(name, 'flac', '.flac')}"


def copying(name: str, suffix: str, sound: str = "") -> str:
    """Command that rewrites a file without converting its pictures. sound: FFmpeg's name of the sound's codec."""
    if suffix != ".mp4":
        codecs = "-c copy"
    else:
        codecs = f"{'-c copy' if sound in SOUND_IN_MP4 else '-c:v copy -c:a aac'} -movflags +faststart"
    return f"ffmpeg -i {shlex.quote(name)} {codecs} {new_name(name, 'copy', suffix)}"


def new_name(name: str, addition: str, suffix: str = ".mp4") -> str:
    return shlex.quote(f"{PurePath(name).stem}-{addition}{suffix}")


def renamed(text: str, stored: str, name: str) -> str:
    """Replace the stored name of a file in a text by the name that its user knows; commands in it still work."""

    def other(found: re.Match[str]) -> str:
        option, addition, suffix = found.groups()
        if addition:
            return new_name(name, addition, suffix or "")
        return f"{option}{shlex.quote(name)}" if option else name

    return re.sub(rf"(-i )?{re.escape(stored)}(?:-(\w+)(\.\w+)?)?", other, text)


def about_no_medium(path: Path, what: str, reason: str) -> str:
    """Reason and cure for a file that could not be opened. what: "a video" or "sound". reason: of FFmpeg. Raises OSError."""
    with path.open("rb") as file:
        beginning = file.read(_LENGTH)
    if kind := _other_kind(beginning):
        if kind in _ARCHIVES.values():
            return f"it is {kind}); unpack it, and upload the files in it"
        return f"it is {kind}); convert it: {converting(path.name, 'h264') if what == 'a video' else to_flac(path.name)}"
    if beginning.startswith((b"GIF87a", b"GIF89a")):
        line = converting(path.name, "h264", [EVEN_SIZES])
        return f"it is a GIF, which browsers show as a picture that nobody can seek in); convert it: {line}"
    for begins, kind in _PICTURES.items():
        if beginning.startswith(begins):
            return f"it is {kind}, a picture); make a video in MP4 of it with the program that it comes from"
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "it is a WebP, a picture); make a video in MP4 of it with the program that it comes from"
    if beginning.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return (
            "it is a web page or XML); open its address in a browser: does the server ask for a login, or say what is missing?"
        )
    if _is_bare_stream(beginning):
        # The rate in such streams is often wrong, so pictures are counted.
        rate = "-vf setpts=N/25/TB -r 25"
        line = f"ffmpeg -i {shlex.quote(path.name)} {rate} {H264} {new_name(path.name, 'h264')}"
        return f"it is H.264 or H.265 without times); put it into MP4, with the rate of its camera in place of 25: {line}"
    if is_checked_mp4(path) and not has_index(path):
        return (
            "its index, the box moov, which is written last, is missing: the recording or the upload broke off); upload it "
            "again, or repair the original first, by its camera or a program such as untrunc"
        )
    return f"{reason}); is the upload complete?"


def _other_kind(beginning: bytes) -> str | None:
    """Kind of a file that is neither a picture nor text, by its first bytes; None if it is none of those known."""
    kinds = _CONVERTED | _ARCHIVES
    return next((kind for begins, kind in kinds.items() if beginning.startswith(begins)), None)


def _is_bare_stream(beginning: bytes) -> bool:
    for begins in _UNIT_BEGINS:
        if beginning.startswith(begins) and len(beginning) > len(begins):
            kind = beginning[len(begins)]
            return kind in _H265_UNITS or (kind < 0x80 and kind & 0x1F in _H264_UNITS)
    return False
