"""``framewise migrate``: conversion of an old project with a video beside a series to current Label Studio."""

import argparse
from pathlib import Path

from framewise.commands.arguments import above_zero
from framewise.commands.flags import Commands, check_there

SERIES_ADDRESS = "/data/local-files/?d=series/"  # same as in migrate.plan.MigrationOptions


def add_parser(commands: Commands) -> None:
    summary = "convert a Label Studio 1.4.1 project with video beside a series"
    example = "framewise migrate EXPORT.json --config old.xml --media-folder /srv/media"
    parser = commands.add("migrate", summary, example, "docs/migrating.md")
    parser.add_argument("tasks", type=Path, metavar="EXPORT.json", help="Label Studio's Export > JSON")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.xml", help="the old labeling config")
    media = "folder of the tasks' videos and series (default: none)"
    parser.add_argument("--media-folder", type=Path, metavar="FOLDER", help=media)
    durations = '{"address": seconds} for missing media'
    parser.add_argument("--durations", type=Path, metavar="FILE.json", help=durations)
    rate = "frames per second, if no file gives it"
    parser.add_argument("--frame-rate", type=above_zero, metavar="N", help=rate)
    address = f"address prefix of rewritten series in new tasks (default: {SERIES_ADDRESS})"
    parser.add_argument("--series-address", metavar="ADDRESS", help=address)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="new folder, for --write")
    write = "write the new config and tasks (default: dry run)"
    parser.add_argument("--write", action="store_true", help=write)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_there(args.tasks, args.config, args.durations)
    from framewise.commands.migration import migrate

    return migrate(args)
