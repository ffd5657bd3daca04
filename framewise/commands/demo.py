"""``framewise demo``: a real Label Studio with a project that framewise learns."""

import argparse
import os
import shutil
from pathlib import Path

from framewise.commands.flags import Commands
from framewise.core.errors import SettingsError


def add_parser(commands: Commands) -> None:
    summary = "run a real Label Studio with a project that framewise learns"
    parser = commands.add("demo", summary, "framewise demo", "README.md, Try it")
    program = "a label-studio program (default: LABEL_STUDIO, else one that is installed into the user's cache folder)"
    parser.add_argument("--label-studio", metavar="PROGRAM", help=program)
    folder = f"where the demo keeps its files (default: {default_folder()})"
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help=folder)
    parser.add_argument("--exit", action="store_true", help="end after the printout; fail if the predictions are bad")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    given = _given_program(args.label_studio)
    from framewise.demo.environment import label_studio_program
    from framewise.demo.run import run_demo

    program = given or label_studio_program(user_cache() / "framewise")
    return run_demo(program, args.folder or default_folder(), exit_after=args.exit)


def _given_program(flag: str | None) -> Path | None:
    """The program that the flag or the environment names, by its path or as it is on PATH. Raises SettingsError."""
    given = flag or os.environ.get("LABEL_STUDIO")
    if not given:
        return None
    found = shutil.which(given)
    if not found:
        name = "--label-studio" if flag else "LABEL_STUDIO"
        raise SettingsError(f"{name}: {given} is no program; without it, one is installed into {user_cache() / 'framewise'}")
    return Path(found)


def user_cache() -> Path:
    """The user's cache folder, as the XDG base directory specification has it: a relative one counts as not set."""
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return given if given.is_absolute() else Path.home() / ".cache"


def default_folder() -> Path:
    return user_cache() / "framewise" / "demo"
