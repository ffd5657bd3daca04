"""``framewise sync``: the commands on recordings of one scene."""

import argparse
from typing import Any

from framewise.sync import apply_command, estimate_command, evaluate_command, labels_command


def add_parsers(commands: Any) -> None:
    """Add ``sync`` to the subparsers of a command line. Each of its commands adds itself, with ``run`` set."""
    sync = commands.add_parser("sync", help="several recordings of one scene: their offsets, applied to media and labels")
    parsers: argparse._SubParsersAction[argparse.ArgumentParser] = sync.add_subparsers(required=True, metavar="SYNC_COMMAND")
    for module in (estimate_command, apply_command, labels_command, evaluate_command):
        module.add(parsers)
