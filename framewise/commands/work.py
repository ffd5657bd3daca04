"""``framewise work``: a worker alone."""

import argparse

from framewise.commands.flags import Commands, add_settings, settings_of


def add_parser(commands: Commands) -> None:
    example = "framewise work --data-dir /srv/framewise/data"
    parser = commands.add("work", "run a worker alone", example, "docs/operations.md, Processes")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from framewise.foundation import configure_logging, with_default_backbone
    from framewise.worker import work

    settings = settings_of(args)
    configure_logging(settings.log_level)
    work(with_default_backbone(settings))
