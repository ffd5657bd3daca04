"""``framewise series align``: alignment of a sensor's file with a video, for Label Studio."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from framewise.commands.arguments import seconds_above_zero, share
from framewise.commands.flags import DEFAULT, Commands
from framewise.commands.shown import StepBars
from framewise.core.errors import SettingsError
from framewise.core.tables import table_lines

if TYPE_CHECKING:
    from framewise.labeling_config import SeriesSettings
    from framewise.sync.series.aligning import Alignment

NOT_ANSWERED = 3
MINIMUM_CONFIDENCE = 0.4  # with several methods, one of them may have some confidence by chance


def add_parser(commands: Commands) -> None:
    parser = commands.add(
        "align",
        "find when a sensor started on a video's clock, and rewrite its file",
        "framewise series align ride.mp4 imu.csv --time-column t --picture look.png",
        "docs/series-align.md",
        "Compares camera rotation, movement and loudness with the sensor. The written file starts at 0 s of "
        f"the video. Exits with {NOT_ANSWERED}, without writing a file, if no answer is confident enough.",
    )
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a video or a sound file")
    parser.add_argument("sensor", type=Path, metavar="SENSOR.csv", help="the series, as Label Studio reads it: CSV or JSON")
    parser.add_argument("--time-column", default="time", metavar="NAME", help=f"column of times {DEFAULT}")
    parser.add_argument(
        "--time-format",
        default="",
        metavar="FORMAT",
        help="like timeFormat on the tag, %%Y-%%m-%%d %%H:%%M:%%S (default: seconds)",
    )
    parser.add_argument("--sep", default=",", metavar="SEPARATOR", help=f"separator of columns, or auto {DEFAULT}")
    parser.add_argument("--channels", metavar="A,B,C", help="columns of one sensor (default: all except the time)")
    parser.add_argument(
        "--search",
        type=seconds_above_zero,
        default=20.0,
        metavar="SECONDS",
        help=f"search range each way {DEFAULT}",
    )
    parser.add_argument(
        "--minimum-confidence", type=share, default=MINIMUM_CONFIDENCE, metavar="0..1",
        help=f"give no answer below this confidence {DEFAULT}",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="file to write (default: SENSOR.aligned.csv)")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the compared signals before and after")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns NOT_ANSWERED without an answer."""
    from framewise.sync.series.aligned_file import write_aligned
    from framewise.sync.series.aligning import align_series, read_sensor
    from framewise.sync.series.plots import draw

    output = args.output or args.sensor.with_suffix(".aligned.csv")
    _check_files(args, output)
    settings = _settings(args)
    sensor = read_sensor(args.sensor, settings)
    with StepBars() as bars:
        alignment = align_series(args.video, sensor, args.search, progress=bars.tell)
    answered = alignment.confidence > 0 and alignment.confidence >= args.minimum_confidence
    _print(alignment, answered)
    if args.picture:
        draw(alignment, (args.video.name, args.sensor.name), answered, args.picture)
        print(f"Picture: {args.picture}")
    if not answered:
        print(f"Not answered: no result reaches a confidence of {args.minimum_confidence:g}; no file was written.")
        return NOT_ANSWERED
    rows, left_out = write_aligned(args.sensor, output, settings, sensor, alignment)
    print(f"Written to {output}: {rows} rows, the first at 0 s of the video; {left_out} samples before it were left out.")
    return 0


def _check_files(args: argparse.Namespace, output: Path) -> None:
    for name, path in (("VIDEO", args.video), ("SENSOR.csv", args.sensor)):
        if not path.is_file():
            raise SettingsError(f"{name}: expected a file, found none at {path}")
    for flag, path in (("--output", output), ("--picture", args.picture)):
        if path and path.exists() and (path.samefile(args.sensor) or path.samefile(args.video)):
            raise SettingsError(f"{flag}: {path} is an input; name another file")


def _settings(args: argparse.Namespace) -> "SeriesSettings":
    """Series settings from the flags. Raises MediaError, ConfigError."""
    from framewise.core.errors import MediaError
    from framewise.core.time_format import TimeFormat
    from framewise.labeling_config import SeriesSettings, separator_of
    from framewise.media.series import column_names

    if args.time_format:
        TimeFormat(args.time_format)  # refuse an invalid one before anything is read
    sep = separator_of(args.sep)
    time = args.time_column.strip()
    try:
        names = column_names(args.sensor, sep)
    except MediaError as error:
        raise MediaError(f"{args.sensor.name}: {error}") from None
    if time.lower() not in [name.lower() for name in names]:
        raise SettingsError(
            f"--time-column: {args.sensor.name} has no column {time!r}; it has {', '.join(names[:20])}. A sensor without times "
            "cannot be aligned"
        )
    given = args.channels.split(",") if args.channels else [name for name in names if name.lower() != time.lower()]
    channels = tuple(name.strip() for name in given if name.strip())
    if not channels:
        raise SettingsError(f"--channels: expected at least one column besides {time!r}, found none in {args.sensor.name}")
    return SeriesSettings(time, args.time_format, bool(args.time_format), sep, False, channels)


def _print(alignment: "Alignment", answered: bool) -> None:
    rows = [("compared", "offset", "drift", "confidence", "")]
    for compared in alignment.compared:
        found = compared.found
        if isinstance(found, str):
            rows.append((compared.method, "-", "-", "-", found))
            continue
        drift = f"{1e6 * found.drift:+z.1f} ppm" if found.drift is not None else "-"
        rows.append((compared.method, f"{found.offset:+.4f} s", drift, f"{compared.confidence:.2f}", ""))
    for line in table_lines(rows):
        print(line)
    if answered:
        later = "after" if alignment.offset >= 0 else "before"
        print(
            f"The sensor started {abs(alignment.offset):.4f} s {later} the video (by {alignment.best.method}, confidence "
            f"{alignment.confidence:.2f})."
        )
