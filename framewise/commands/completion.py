"""``framewise completion``: shell completion of commands and flags."""

import argparse

from framewise.commands.flags import Commands

SHELLS = ("bash", "zsh", "tcsh")


def add_parser(commands: Commands) -> None:
    parser = commands.add(
        "completion",
        "print a script that completes commands and flags in your shell",
        "framewise completion bash > ~/.framewise.bash",
        "docs/command-line.md, Completion",
    )
    parser.add_argument("shell", choices=SHELLS, help="your shell")
    parser.set_defaults(run=run, completed=commands.parser)


def run(args: argparse.Namespace) -> None:
    import shtab

    print(shtab.complete(args.completed, args.shell))
