"""``framewise train``: training on an export."""

import argparse
from pathlib import Path

from framewise.commands.flags import CONFIG_HELP, PROJECT_HELP, Commands, add_folders, check_there, working_settings


def add_parser(commands: Commands) -> None:
    summary = "train on an export of Label Studio, and publish the version"
    example = "framewise train EXPORT.json --config config.xml"
    parser = commands.add("train", summary, example, "docs/command-line.md, Without Label Studio")
    parser.add_argument("tasks", type=Path, metavar="EXPORT.json", help="Label Studio's Export > JSON")
    config = f"{CONFIG_HELP} (default: the project's own)"
    parser.add_argument("--config", type=Path, metavar="FILE.xml", help=config)
    parser.add_argument("--project", metavar="PROJECT", help=f"{PROJECT_HELP} (default: a new one)")
    add_folders(parser, "model_root", "cache_dir", "data_dir", "local_files_roots")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_there(args.tasks, args.config)
    from framewise.commands.offline import train

    return train(working_settings(args, "ERROR"), args.tasks, args.config, args.project)  # warnings are part of its output
