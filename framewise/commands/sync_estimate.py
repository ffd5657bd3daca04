"""``framewise sync estimate``: start times of recordings, as a table, in ``sync.json`` and in the log."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from framewise.commands.arguments import above_zero, share
from framewise.commands.flags import DEFAULT, Commands
from framewise.commands.shown import StepBars
from framewise.core.errors import SettingsError
from framewise.core.tables import table_lines

if TYPE_CHECKING:
    from framewise.sync.manifest import Manifest

NOT_ALL_ANSWERED = 3
WHOLE = "whole"


def add_parser(commands: Commands) -> None:
    parser = commands.add(
        "estimate",
        "find when each recording started, by sound and picture",
        "framewise sync estimate left.mp4 right.mp4 top.mp4 --pictures look/",
        "docs/sync.md",
        "Finds offsets in seconds from the first recording; positive: the recording started later. "
        f"Exits with {NOT_ALL_ANSWERED} if a recording has no answer.",
    )
    parser.add_argument("recordings", nargs="+", type=Path, metavar="FILE", help="the first is the reference")
    parser.add_argument("--method", choices=("audio", "visual", "both"), default="both", help=f"what to compare {DEFAULT}")
    parser.add_argument(
        "--max-offset",
        type=_max_offset,
        default=20.0,
        metavar="SECONDS",
        help=f"search range each way, or {WHOLE} {DEFAULT}",
    )
    parser.add_argument(
        "--minimum-confidence",
        type=share,
        default=0.2,
        metavar="0..1",
        help=f"give no answer below this confidence {DEFAULT}",
    )
    parser.add_argument("--output", type=Path, default=Path("sync.json"), metavar="FILE", help=f"file to write {DEFAULT}")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="folder for figures of the comparison")
    parser.add_argument("--log", type=Path, default=Path("logs/video_sync.log"), metavar="FILE", help=f"log file {DEFAULT}")
    parser.set_defaults(run=run)


def _max_offset(text: str) -> float | None:
    return None if text == WHOLE else above_zero(text, f"seconds above 0, or {WHOLE!r}")


def run(args: argparse.Namespace) -> int:
    """Write and print the offsets. Returns NOT_ALL_ANSWERED if a recording has no answer."""
    from framewise.sync import manifest
    from framewise.sync.log import logged
    from framewise.sync.offsets.estimate import EstimateOptions, estimate_offsets

    options = EstimateOptions(args.method, args.max_offset, args.minimum_confidence, args.pictures)
    with logged(args.log), StepBars() as bars:
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
        print(f"Around loops of three recordings the offsets close within {1000 * made.loop_residual:.1f} ms.")
