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
    program = "label-studio program (default: LABEL_STUDIO, otherwise one is installed in the user's cache folder)"
    parser.add_argument("--label-studio", metavar="PROGRAM", help=program)
    folder = f"folder for the demo's files (default: {default_folder()})"
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help=folder)
    parser.add_argument("--exit", action="store_true", help="exit after printing; fail if the predictions are bad")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    given = _given_program(args.label_studio)
    from framewise.demo.environment import label_studio_program
    from framewise.demo.run import run_demo

    program = given or label_studio_program(user_cache() / "framewise")
    return run_demo(program, args.folder or default_folder(), exit_after=args.exit)


def _given_program(flag: str | None) -> Path | None:
    """Program given by the flag or the environment, as a path or a name on PATH. Raises SettingsError."""
    given = flag or os.environ.get("LABEL_STUDIO")
    if not given:
        return None
    found = shutil.which(given)
    if not found:
        name = "--label-studio" if flag else "LABEL_STUDIO"
        raise SettingsError(f"{name}: {given} is not a program; without it, one is installed in {user_cache() / 'framewise'}")
    return Path(found)


def user_cache() -> Path:
    """User's cache folder by the XDG base directory specification: a relative path counts as not set."""
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return given if given.is_absolute() else Path.home() / ".cache"


def default_folder() -> Path:
    return user_cache() / "framewise" / "demo"
