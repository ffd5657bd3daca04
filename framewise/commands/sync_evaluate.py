"""``framewise sync evaluate``: quality of the offsets found by `framewise sync estimate`, on the user's recordings."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framewise.commands.arguments import number, seconds_above_zero
from framewise.commands.flags import DEFAULT, Commands, check_there
from framewise.core.tables import table_lines

if TYPE_CHECKING:
    from framewise.sync.manifest import Manifest

DEFAULT_OUTPUT = Path("evaluation")
HEADINGS = ("METHOD", "ANSWERED", "MAE", "RMSE", "MEDIAN", "MAX", "MEAN TIME", "PEAK MEMORY", "PEAK CPU")


def add_parser(commands: Commands) -> None:
    summary = "measure the errors of estimated offsets on your recordings"
    more = "docs/sync-apply.md, How good it is on your recordings"
    parser = commands.add("evaluate", summary, "framewise sync evaluate recordings/ --offsets -3 0.5 8", more)
    parser.add_argument("originals", type=Path, metavar="FOLDER", help="recordings to cut pairs out of; they are not changed")
    offsets = "offsets of the pairs in seconds, may be negative (default: a mix)"
    parser.add_argument("--offsets", type=_seconds, nargs="+", metavar="S", help=offsets)
    length = f"maximum length of a pair's recordings {DEFAULT}"
    parser.add_argument("--length", type=_positive, default=60.0, metavar="S", help=length)
    search = f"search range each way {DEFAULT}"
    parser.add_argument("--max-offset", type=_positive, default=20.0, metavar="S", help=search)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="FOLDER", help=f"folder to write {DEFAULT}")
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    value = number(text)
    if not abs(value) < 1e5:
        raise argparse.ArgumentTypeError(f"expected seconds, found {text!r}")
    return value


def _positive(text: str) -> float:
    _seconds(text)
    return seconds_above_zero(text)


def estimated(paths: Sequence[Path], method: str, max_offset: float) -> "Manifest":
    """Estimate offsets like `framewise sync estimate`. Runs in its own process."""
    from framewise.sync.offsets.estimate import EstimateOptions, estimate_offsets

    return estimate_offsets(paths, EstimateOptions(method=method, max_offset=max_offset))


def run(args: argparse.Namespace) -> int:
    """Write metrics and figures, and print a table. Raises FramewiseError."""
    check_there(args.originals)
    from tqdm import tqdm

    from framewise.sync.evaluate.evaluating import DEFAULT_OFFSETS, evaluate_offsets

    with tqdm(total=1.0, bar_format="{desc:40.40} {percentage:3.0f}% |{bar}| {elapsed}", leave=False) as bar:

        def progress(share: float, what: str) -> None:
            bar.set_description(what, refresh=False)
            bar.update(max(share - bar.n, 0.0))

        offsets = args.offsets or DEFAULT_OFFSETS
        metrics = evaluate_offsets(args.originals, estimated, args.output, offsets, args.length, args.max_offset, progress)
    for line in table_lines([HEADINGS, *(_row(name, found) for name, found in metrics["methods"].items())]):
        print(line)
    between = metrics["audio_video_diff"]
    if between["pairs"]:
        share = f"{100 * between['share_under_0.1_s']:.0f} % of {between['pairs']} by less than 0.1 s"
        print(f"sound and picture differ by {between['mean']:.4f} s on average; {share}")
    for note in metrics["notes"]:
        print(note)
    print(f"{args.output}: metrics.json and pictures of {metrics['pairs']} pairs")
    return 0


def _row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    errors = [f"{found[key] * 1000:.2f} ms" if found[key] is not None else "-" for key in ("mae", "rmse", "median", "max")]
    taken = (f"{found['run_time']['mean']:.2f} s", f"{found['peak_memory_mb']:.0f} MB", f"{found['peak_cpu_percent']:.0f} %")
    return (name, f"{found['answered']} of {found['asked']}", *errors, *taken)
