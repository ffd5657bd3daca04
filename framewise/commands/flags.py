"""Layout of help texts, and flags of settings, shared by all commands."""

import argparse
import os
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from shtab import FILE

from framewise.core.errors import RequestError, SettingsError
from framewise.settings import Settings

DEFAULT = "(default: %(default)s)"  # ends the help of an argument that has one
PROJECT_HELP = "number of the project in Label Studio, or its key as `framewise versions` shows it"
CONFIG_HELP = "the labeling config: Label Studio's Settings > Labeling Interface > Code"

HELP_WIDTH = 78

# Contents of the folders that commands read.
FOLDERS = {
    "model_root": "backbones and trained versions",
    "cache_dir": "cached features",
    "data_dir": "the service's database",
    "local_files_roots": f"where plain paths in tasks may be, separated by {os.pathsep!r}",
}


class Parser(argparse.ArgumentParser):
    """Argument parser with optional commands, by ``names``. Without a command it prints its help."""

    def __init__(self, **given: Any):
        super().__init__(**{"formatter_class": _Layout, **given})
        self.names: dict[str, Parser] = {}

    def add_argument(self, *names: Any, **given: Any) -> argparse.Action:
        """Add an argument; shells complete file names if a path is expected."""
        action = super().add_argument(*names, **given)
        if given.get("type") is Path:
            setattr(action, "complete", FILE)  # noqa: B010  (argparse's class declares no such attribute)
        return action

    def add_commands(self) -> "Commands":
        self.set_defaults(run=lambda args: self.print_help())
        return Commands(self)


class Commands:
    """Commands of a parser."""

    def __init__(self, parser: Parser):
        self.parser = parser
        parser.usage = f"{parser.prog} [--help] COMMAND ..."
        # Wide enough for argparse to put the longest name and its summary on one line.
        self._actions = parser.add_subparsers(title="commands", metavar=f"{'COMMAND':14}", prog=parser.prog)

    def add(self, name: str, summary: str, example: str = "", more: str = "", description: str = "") -> Parser:
        """Parser of a new command. summary: its line in the list of commands, an imperative without a full stop.

        description: replaces the summary in the command's own help. more: reference to the documentation.
        """
        shown = [f"example:\n  {example}\n" * bool(example), f"more: {more}"]
        about = textwrap.fill(description or f"{summary[0].upper()}{summary[1:]}.", HELP_WIDTH)
        parser = self._actions.add_parser(name, help=summary, description=about, epilog="\n".join(filter(None, shown)))
        self.parser.names[name] = parser
        return parser


class _Layout(argparse.RawDescriptionHelpFormatter):
    """Help layout that keeps the lines of descriptions and epilogs, so that examples are not refilled."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=26)


def add_folders(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add flags for folders, with the environment variable as default. Other settings are set in the environment only."""
    settings = {item.name: item for item in fields(Settings)}
    group = parser.add_argument_group("folders", "of the service; for other settings, set environment variables")
    for name in names:
        told = f"{FOLDERS[name]} (default: {name.upper()}, or {settings[name].default or 'none'})"
        group.add_argument(flag_of(name), dest=f"setting_{name}", metavar="FOLDER", help=told)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting except secrets, with the environment variable as default."""
    about = (
        "Each is also an environment variable: --model-root is MODEL_ROOT. Secrets are environment variables only: "
        f"{', '.join(secrets())}; or NAME_FILE, the path of a file with the secret."
    )
    group = parser.add_argument_group("settings", textwrap.fill(about, HELP_WIDTH, initial_indent="", subsequent_indent="  "))
    for item in fields(Settings):
        if not item.metadata["secret"]:
            default = f" (default: {item.default})" if item.default not in (None, ()) else ""
            told = item.metadata["help"].replace("%", "%%") + default
            group.add_argument(flag_of(item.name), dest=f"setting_{item.name}", metavar="VALUE", help=told)


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from the flags, or otherwise from the environment. Raises SettingsError."""
    given = {item.name: getattr(args, f"setting_{item.name}", None) for item in fields(Settings)}
    return Settings.from_env(os.environ, {name: value for name, value in given.items() if value is not None})


def working_settings(args: argparse.Namespace, log_level: str | None = None) -> Settings:
    """Prepare a process that extracts: set up logging, create folders, download the default backbone; returns its settings.

    log_level: replaces LOG_LEVEL in commands with a progress bar, which the log would repeat. Raises SettingsError,
    BackboneError.
    """
    from framewise.foundation import check_folders, configure_logging, with_default_backbone
    from framewise.processes import allow_open_files

    allow_open_files()
    settings = settings_of(args)
    configure_logging(log_level or settings.log_level)
    check_folders(settings)
    return with_default_backbone(settings)


def check_there(*paths: Path | None) -> None:
    """Raise RequestError for a missing path, before anything is fetched or computed."""
    for path in paths:
        if path is not None and not path.exists():
            raise RequestError(f"cannot read {path}: No such file or directory")


def check_writable(*paths: Path | None) -> None:
    """Raise SettingsError for a file that cannot be written, before hours are spent on its contents."""
    for path in paths:
        if path and (path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK)):
            raise SettingsError(f"cannot write {path}: it is a folder, or its folder is not writable")


def flag_of(setting: str) -> str:
    return "--" + setting.replace("_", "-")


def setting_flags() -> Mapping[str, str]:
    """Flag -> environment variable of every setting."""
    return {flag_of(item.name): item.name.upper() for item in fields(Settings)}


def secrets() -> list[str]:
    """Environment variables that hold secrets."""
    return [item.name.upper() for item in fields(Settings) if item.metadata["secret"]]
