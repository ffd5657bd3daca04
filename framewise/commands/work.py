"""``framewise work``: a worker process on its own."""

import argparse

from framewise.commands.flags import Commands, add_settings, working_settings
from framewise.core.collector import without_collector


def add_parser(commands: Commands) -> None:
    example = "framewise work --data-dir /srv/framewise/data"
    parser = commands.add("work", "run a worker without a web server", example, "docs/operations.md, Processes")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    with without_collector():
        from framewise.worker import work

    work(working_settings(args))
