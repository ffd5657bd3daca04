"""``framewise roll-back``: use of an earlier version."""

import argparse

from framewise.commands.flags import PROJECT_HELP, Commands, add_folders, settings_of
from framewise.commands.service import print_in_use, service_backend


def add_parser(commands: Commands) -> None:
    summary = "predict with an earlier version, and pin it"
    parser = commands.add("roll-back", summary, "framewise roll-back 12 v3", "docs/operations.md, Versions")
    parser.add_argument("project", metavar="PROJECT", help=PROJECT_HELP)
    parser.add_argument("version", metavar="VERSION", help="version name or prefix, e.g. v3")
    add_folders(parser, "model_root", "cache_dir", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Put a version into use and pin it. Raises NotKnown, RequestError, ConfigError."""
    print_in_use(service_backend(settings_of(args)).roll_back(args.project, args.version))
