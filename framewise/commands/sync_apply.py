"""``framewise sync apply``: files of all recordings on one clock."""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from framewise.commands.flags import DEFAULT, Commands, check_there
from framewise.core.tables import table_lines
from framewise.sync.apply import MODES

if TYPE_CHECKING:
    from framewise.sync.apply.applying import Applied

DEFAULT_FOLDER = "synced"
HEADINGS = ("RECORDING", "HEAD", "FRAMES", "LEFT OVER", "DRIFT", "WRITTEN AS")


def add_parser(commands: Commands) -> None:
    summary = "pad or trim all recordings to one clock and one length"
    parser = commands.add("apply", summary, "framewise sync apply sync.json --output synced/", "docs/sync-apply.md")
    parser.add_argument("manifest", type=Path, metavar="sync.json", help="file written by `framewise sync estimate`")
    modes = "union: keep everything, fill with black and silence; intersection: the common part; reference: its time only"
    parser.add_argument("--mode", choices=MODES, default="union", help=f"{modes} {DEFAULT}")
    output = f"new or empty folder (default: {DEFAULT_FOLDER} beside sync.json)"
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=output)
    parser.add_argument("--correct-drift", action="store_true", help="stretch each recording to the reference's clock")
    rate = "frame rate of all outputs, such as 25 or 30000/1001 (default: the reference's)"
    parser.add_argument("--frame-rate", type=frame_rate, metavar="N", help=rate)
    parser.add_argument("--zip", action="store_true", help="also write synced_videos.zip")
    parser.add_argument(
        "--manifest-only", action="store_true", help="write the manifest and report without media, for `sync labels`"
    )
    parser.set_defaults(run=run)


def frame_rate(text: str) -> Fraction:
    """Parse a frame rate."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"expected frames per second such as 25, 29.97 or 30000/1001, found {text!r}")
    return rate


def run(args: argparse.Namespace) -> int:
    """Apply the offsets and print the result. Returns 1 if a recording was left out. Raises FramewiseError."""
    from tqdm import tqdm

    from framewise.sync.apply.applying import ApplyOptions, apply_offsets
    from framewise.sync.manifest import read

    check_there(args.manifest)
    manifest = read(args.manifest)
    output = args.output or args.manifest.absolute().parent / DEFAULT_FOLDER
    options = ApplyOptions(output, args.mode, args.correct_drift, args.zip, args.manifest_only, args.frame_rate)
    with tqdm(total=1.0, desc="apply", bar_format="{desc:20.20} {percentage:3.0f}% |{bar}| {elapsed}", leave=False) as bar:

        def progress(share: float, what: str) -> None:
            bar.set_description(what, refresh=False)
            bar.update(max(share - bar.n, 0.0))

        applied = apply_offsets(manifest, options, progress)
    _print(applied)
    for name in applied.left_out:
        print(f"{name} was left out: {manifest.recording(name).reason or 'its offset is not known'}")
    return 1 if applied.left_out else 0


def _print(applied: "Applied") -> None:
    rows = [HEADINGS]
    for output in applied.outputs:
        head = output.head
        written = f"{output.path.name} ({output.how})" if output.path else output.how
        drift = f"{output.drift_ppm:+z.1f} ppm" if output.drift_ppm else "-"
        left = f"{head.residual_seconds * 1000:+.1f} ms"
        rows.append((output.recording, f"{head.seconds:+.4f} s", f"{head.frames:+d}", left, drift, written))
    for line in table_lines(rows):
        print(line)
    rate = float(applied.frame_rate)
    print(f"{applied.folder}: {applied.mode}, {applied.frames} frames at {rate:g} per second, {applied.frames / rate:.3f} s")
