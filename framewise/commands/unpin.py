"""``framewise unpin``: return to the newest version."""

import argparse

from framewise.commands.flags import PROJECT_HELP, Commands, add_folders, settings_of
from framewise.commands.service import print_in_use, service_backend


def add_parser(commands: Commands) -> None:
    summary = "predict with the newest version again"
    parser = commands.add("unpin", summary, "framewise unpin 12", "docs/operations.md, Versions")
    parser.add_argument("project", metavar="PROJECT", help=PROJECT_HELP)
    add_folders(parser, "model_root", "cache_dir", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Put the newest version into use. Raises NotKnown."""
    print_in_use(service_backend(settings_of(args)).unpin(args.project))
