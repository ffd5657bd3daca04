"""``framewise evaluate``: held-out scores of a training on an export."""

import argparse
from pathlib import Path

from framewise.commands.flags import CONFIG_HELP, Commands, add_folders, check_there, check_writable, working_settings

PRINTED = "-"  # standard output instead of a file


def add_parser(commands: Commands) -> None:
    summary = "measure a training on an export by held-out videos"
    example = "framewise evaluate EXPORT.json --config config.xml --json scores.json"
    parser = commands.add("evaluate", summary, example, "docs/command-line.md, Without Label Studio")
    parser.add_argument("tasks", type=Path, metavar="EXPORT.json", help="Label Studio's Export > JSON")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.xml", help=CONFIG_HELP)
    parser.add_argument(
        "--json",
        nargs="?",
        const=PRINTED,
        metavar="FILE",
        help="write the scores as JSON to this file, or print them instead of tables",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw how often regions are correct, by score")
    add_folders(parser, "model_root", "cache_dir", "data_dir", "local_files_roots")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    file = Path(args.json) if args.json not in (None, PRINTED) else None
    check_there(args.tasks, args.config)
    check_writable(file, args.picture)
    from framewise.commands.offline import evaluate

    settings = working_settings(args, "WARNING")
    return evaluate(settings, args.tasks, args.config, file, args.picture, print_json=args.json == PRINTED)
