"""Media and series of tasks, as files in a folder given by the user; nothing is fetched."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import av

from framewise.core.errors import MediaError, RequestError, brief
from framewise.media.declared import is_checked_mp4
from framewise.media.video import MP4, OTHER_CONTAINERS, probe
from framewise.migrate.findings import NeedsReview, shown
from framewise.migrate.player import Player, parts_of

# Label Studio prefixes the names of uploads with eight characters: /data/upload/3/1a2b3c4d-clip.mp4
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")


@dataclass(frozen=True)
class Media:
    """seconds: duration as browsers report it. frame_rate: pictures per second, None for sound or if unknown."""

    seconds: float
    frame_rate: float | None


class Folder:
    """Lookup of files by addresses in tasks: the longest suffix of an address's path that is a file below the folder."""

    def __init__(self, root: Path | None, sources: Iterable[str]):
        """sources: all addresses to look up. If two different paths lead to the same file, neither is found."""
        self._named, self._root = root, root.resolve() if root else None
        self._found = {parts: self._search(parts) for parts in {_address(source) for source in sources}}
        counts = Counter(file for file in self._found.values() if file)
        self._twice = {file for file, count in counts.items() if count > 1}

    def find(self, source: str) -> Path:
        """File of an address. Raises NeedsReview."""
        if self._root is None:
            raise NeedsReview(f"{shown(source)} is not fetched; give a folder that has the file with --media-folder")
        file = self._found.get(_address(source))
        if file is None:
            name = shown(parts_of(source)[-1])
            raise NeedsReview(f"{shown(source)} is not below {shown(self._named)}; put the file {name} there")
        if file in self._twice:
            raise NeedsReview(
                f"{shown(file.name)} would be the file of two addresses, one of them {shown(source)}; "
                "put both into folders of the addresses' names"
            )
        return file

    def _search(self, address: tuple[str, ...]) -> Path | None:
        parts = address[1:]
        if self._root is None or ".." in parts or not parts[-1]:
            return None
        ends = [parts[i:] for i in range(len(parts))]
        ends.append((_UPLOAD_PREFIX.sub("", parts[-1]),))
        for end in ends:
            try:
                file = self._root.joinpath(*end).resolve()
                if file.is_relative_to(self._root) and file.is_file():
                    return file
            except (OSError, ValueError):  # a name that is too long or invalid
                continue
        return None


def _address(source: str) -> tuple[str, ...]:
    """Host and path, which identify the file of an address; signatures in the query do not."""
    host = source.partition("://")[2].partition("/")[0] if "://" in source else ""
    return host, *parts_of(source)


class Durations:
    """Durations of media: from the user's file, otherwise from their headers. frame_rate: used if nothing else gives it."""

    def __init__(self, folder: Folder, given: Mapping[str, Media], frame_rate: float | None):
        self._folder, self._given, self._frame_rate = folder, given, frame_rate

    def of(self, player: Player) -> Media:
        """Duration and frame rate of a player's media. Raises NeedsReview."""
        media = self._given.get(player.source) or self._measured(player)
        if player.kind == "audio":
            return Media(media.seconds, None)
        rate = media.frame_rate or self._frame_rate
        if rate is None:
            raise NeedsReview(f"the frame rate of {shown(player.source)} is not known; give it with --frame-rate")
        return Media(media.seconds, rate)

    def _measured(self, player: Player) -> Media:
        try:
            file = self._folder.find(player.source)
        except NeedsReview as error:
            raise NeedsReview(f"{error}, or its duration with --durations") from None
        try:
            if player.kind == "audio":
                return Media(_checked(sound_seconds(file), file), None)
            info = probe(file)
            return Media(_checked(info.duration_seconds, file), float(info.average_rate) if info.average_rate else None)
        except (MediaError, OSError) as error:
            raise NeedsReview(shown(error)) from None


def _checked(seconds: float, file: Path) -> float:
    if not seconds > 0:
        raise MediaError(f"{file.name}: its header does not say how long it is; give its duration with --durations")
    return seconds


def sound_seconds(file: Path) -> float:
    """Duration of a sound file, by its header. Raises MediaError."""
    allowed = {"format_whitelist": MP4 if is_checked_mp4(file) else OTHER_CONTAINERS, "protocol_whitelist": "file"}
    try:
        with av.open(str(file), container_options=allowed, metadata_errors="replace") as container:
            return container.duration / av.time_base if container.streams.audio and container.duration else 0.0
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{file.name}: not a sound that can be read ({error})") from None


def read_durations(file: Path, text: str) -> dict[str, Media]:
    """Read the user's durations: address -> seconds, or {"seconds": .., "frame_rate": ..}. Raises RequestError."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, dict):
        raise RequestError(f'{file}: expected JSON of {{"address": seconds}}, found {brief(items)}')
    return {source: _given(file, source, item) for source, item in items.items()}


def _given(file: Path, source: str, item: Any) -> Media:
    seconds, rate = (item.get("seconds"), item.get("frame_rate")) if isinstance(item, dict) else (item, None)
    if not _is_positive(seconds) or not (rate is None or _is_positive(rate)):
        raise RequestError(
            f'{file}: {brief(source)}: expected seconds, or {{"seconds": .., "frame_rate": ..}}, found {brief(item)}'
        )
    return Media(float(seconds), None if rate is None else float(rate))


def _is_positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
