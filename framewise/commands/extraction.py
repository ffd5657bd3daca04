"""Extraction of all videos for ``framewise extract``, with progress and summary."""

import time
from collections.abc import Iterable
from pathlib import Path

from joblib import cpu_count
from tqdm import tqdm

from framewise.backend.free_disk import FreeDisk
from framewise.bulk.cluster import extract_on_cluster
from framewise.bulk.extracting import CACHED, EXTRACTED, ExtractionOutcome
from framewise.bulk.machine import extract_here
from framewise.bulk.videos import find
from framewise.commands.shown import say
from framewise.settings import Settings

LINE_SECONDS = 30.0


def extract(
    settings: Settings, source: Path | None, config: Path | None, project: str | None, jobs: int | None, dask: str | None
) -> int:
    """Extract the videos found by ``videos.find``; returns 1 if any failed. Raises FramewiseError, KeyboardInterrupt.

    jobs: number of processes; None: one per processor. dask: address of a scheduler whose workers extract instead.
    """
    found = find(settings, source, config, project)
    for note in found.notes:
        say(note)
    seen = _Seen(len(found.videos), found.unusable)
    with _Shown(len(found.videos), FreeDisk(settings.cache_dir, settings.min_free_disk_bytes)) as shown:
        if dask:
            outcomes = extract_on_cluster(found.settings, found.videos, dask)
        else:
            outcomes = extract_here(found.settings, found.videos, jobs or cpu_count(), shown.in_hand)
        try:
            for outcome in outcomes:
                if outcome:
                    seen.add(outcome)
                shown.update(seen)
        except KeyboardInterrupt:
            outcomes.close()
            shown.close()
            seen.print_all("interrupted; extracted features are kept, and the same command continues from there")
            raise
    seen.print_all()
    return 1 if seen.failed else 0


class _Seen:
    """Outcomes of the videos so far. failed: (name, reason) of each unusable one."""

    def __init__(self, total: int, failed: Iterable[tuple[str, str]]):
        self.total, self.done = total, 0
        self.failed = list(failed)
        self._states: dict[str, str] = {}  # by content: files with the same content may arrive in any order
        self._usable = 0
        self._pictures = 0
        self._began = time.monotonic()

    def add(self, outcome: ExtractionOutcome) -> None:
        self.done += 1
        if outcome.content is None:
            self.failed.append((outcome.video.name, outcome.reason))
            return
        self._usable += 1
        self._pictures += outcome.pictures
        if outcome.state == EXTRACTED or outcome.content not in self._states:
            self._states[outcome.content] = outcome.state

    def _count(self, state: str) -> int:
        return sum(found == state for found in self._states.values())

    def brief(self) -> str:
        """Short status for the progress bar."""
        cached = self._count(CACHED)
        told = [f"{cached} cached before" * bool(cached), f"{len(self.failed)} failed" * bool(self.failed)]
        return ", ".join(text for text in told if text)

    def print_all(self, end: str = "") -> None:
        """Print the summary."""
        seconds = time.monotonic() - self._began
        pictures = f" ({self._pictures:,} pictures, {self._pictures / seconds:.0f} per second)" if self._pictures else ""
        same = self._usable - len(self._states)
        told = [
            f"{self._count(EXTRACTED)} extracted{pictures}",
            f"{self._count(CACHED)} cached before",
            f"{same} the same as another" * bool(same),
            f"{len(self.failed)} failed",
            f"{self.total - self.done} not done" * bool(self.total - self.done),
        ]
        print(f"{self.total} videos in {_clock(seconds)}: {', '.join(text for text in told if text)}")
        for name, reason in sorted(self.failed):
            print(f"  {name}: {reason}")
        if end:
            print(end)


class _Shown:
    """Progress on standard error: a bar on a terminal, otherwise an occasional line."""

    def __init__(self, total: int, free_disk: FreeDisk):
        self._free_disk = free_disk
        self._in_hand = 0.0
        self._paused = ""
        self._line_at = time.monotonic() + LINE_SECONDS
        shape = "{desc} |{bar}| {percentage:3.0f}% {elapsed}<{remaining}, {rate_fmt}{postfix}"
        self._bar = tqdm(
            total=total, desc=f"0/{total} videos", unit="video", bar_format=shape, disable=None, dynamic_ncols=True
        )

    def __enter__(self) -> "_Shown":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._bar.close()

    def in_hand(self, videos: float) -> None:
        """Set the progress of the running videos, in videos."""
        self._in_hand = videos

    def update(self, seen: _Seen) -> None:
        paused = self._free_disk.missing()
        if paused != self._paused and bool(paused) != bool(self._paused):
            say(f"paused: {paused}" if paused else "there is room again; continuing")
        self._paused = paused
        self._bar.set_description_str(f"{seen.done}/{seen.total} videos", refresh=False)
        self._bar.set_postfix_str("paused: the disk is too full" if paused else seen.brief(), refresh=False)
        self._bar.update(max(seen.done + self._in_hand - self._bar.n, 0))
        if self._bar.disable and time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + LINE_SECONDS
            say(f"{seen.done}/{seen.total} videos; {seen.brief() or 'none failed'}")


def _clock(seconds: float) -> str:
    return str(tqdm.format_interval(seconds))
