"""``framewise sync estimate``: when each recording started, in a table, in ``sync.json`` and in the log."""

import argparse
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from framewise.core.arguments import above_zero, share
from framewise.core.errors import SettingsError
from framewise.core.tables import table_lines

if TYPE_CHECKING:
    from framewise.sync.manifest import Manifest

NOT_ALL_ANSWERED = 3
WHOLE = "whole"


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "estimate",
        help="when each recording started, by sound and by picture",
        description="Offsets in seconds against the first recording; positive: it started after that one. "
        f"Ends with {NOT_ALL_ANSWERED} if a recording could not be put on the clock.",
    )
    parser.add_argument("recordings", nargs="+", type=Path, metavar="FILE", help="the first is the reference")
    parser.add_argument("--method", choices=("audio", "visual", "both"), default="both", help="what is compared; both")
    parser.add_argument(
        "--max-offset", type=_max_offset, default=20.0, metavar="SECONDS", help=f"how far to search each way; 20, or {WHOLE}"
    )
    parser.add_argument(
        "--minimum-confidence", type=share, default=0.2, metavar="0..1", help="less sure than this is not answered; 0.2"
    )
    parser.add_argument("--output", type=Path, default=Path("sync.json"), metavar="FILE", help="what to write; sync.json")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw there what was compared")
    parser.add_argument(
        "--log", type=Path, default=Path("logs/video_sync.log"), metavar="FILE", help="a line a step; logs/video_sync.log"
    )
    parser.set_defaults(run=run)


def _max_offset(text: str) -> float | None:
    return None if text == WHOLE else above_zero(text, f"seconds above 0, or {WHOLE!r}")


def run(args: argparse.Namespace) -> int:
    """The command. NOT_ALL_ANSWERED if a recording is not on the clock."""
    from framewise.sync import manifest
    from framewise.sync.offsets.estimate import EstimateOptions, estimate_offsets

    options = EstimateOptions(args.method, args.max_offset, args.minimum_confidence, args.pictures)
    with logged(args.log), Bars() as bars:
        made = estimate_offsets(args.recordings, options, bars.tell)
    try:
        manifest.write(made, args.output)
    except OSError as error:
        raise SettingsError(f"--output: {args.output} cannot be written ({error.strerror})") from None
    _print(made)
    print(f"Written to {args.output}" + (f", pictures to {args.pictures}" if args.pictures else "") + f"; log: {args.log}")
    return 0 if all(recording.answered for recording in made.recordings) else NOT_ALL_ANSWERED


def _print(made: "Manifest") -> None:
    rows = [("recording", "offset", "drift", "confidence", "")]
    for r in made.recordings:
        drift = f"{r.drift_ppm:+z.1f} ppm" if r.drift_ppm is not None else "-"
        offset = f"{r.offset:+.4f} s" if r.offset is not None else "-"
        note = r.reason if r.name != made.reference or r.reason else "the reference"
        rows.append((r.name, offset, drift, f"{r.confidence:.2f} {r.rating}" if r.answered else "not answered", note))
    for line in table_lines(rows):
        print(line)
    if made.loop_residual is not None:
        print(f"Round three recordings the offsets close within {1000 * made.loop_residual:.1f} ms.")


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Lines of ``framewise.sync`` also go to a file, with time and request. Raises SettingsError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--log: {path} cannot be written ({error.strerror})") from None
    form = "%(asctime)s %(levelname)s [%(request_id)s] %(message)s"
    handler.setFormatter(logging.Formatter(form, defaults={"request_id": "-"}))
    logger = logging.getLogger("framewise.sync")
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    except Exception as error:
        logger.error("failed: %s", error)
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
        handler.close()


class Bars:
    """A bar for each step, on standard error. ``tell`` may be called by several threads."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *error: object) -> None:
        for bar in self._bars.values():
            bar.close()

    def tell(self, share: float, what: str) -> None:
        with self._lock:
            if what not in self._bars:
                form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}"
                self._bars[what] = tqdm(total=1.0, desc=what, bar_format=form, position=len(self._bars), disable=None)
            bar = self._bars[what]
            bar.update(max(0.0, min(1.0, share) - bar.n))
