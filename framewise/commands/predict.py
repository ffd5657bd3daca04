"""``framewise predict``: predictions of tasks, as a file for Label Studio's import."""

import argparse
from pathlib import Path

from framewise.commands.flags import (
    CONFIG_HELP,
    PROJECT_HELP,
    Commands,
    add_folders,
    check_there,
    check_writable,
    working_settings,
)


def add_parser(commands: Commands) -> None:
    summary = "write predictions of tasks, for Label Studio's import"
    example = "framewise predict TASKS.json --project 12 --output predictions.json"
    parser = commands.add("predict", summary, example, "docs/command-line.md, Without Label Studio")
    parser.add_argument("tasks", type=Path, metavar="TASKS.json", help="an export, or a list of {'data': ...}")
    parser.add_argument("--config", type=Path, metavar="FILE.xml", help=f"{CONFIG_HELP} (default: the project's own)")
    parser.add_argument("--project", metavar="PROJECT", help=f"project whose version predicts: {PROJECT_HELP}")
    version = "version name or prefix, e.g. v3 (default: the one in use)"
    parser.add_argument("--version", dest="model_version", metavar="VERSION", help=version)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write")
    add_folders(parser, "model_root", "cache_dir", "data_dir", "local_files_roots")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_there(args.tasks, args.config)
    check_writable(args.output)
    from framewise.commands.offline import predict

    settings = working_settings(args, "WARNING")
    return predict(settings, args.tasks, args.config, args.project, args.model_version, args.output)
