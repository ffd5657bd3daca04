"""Helpers of commands that work on a service: its database, its use cases, the confirmation before a removal."""

import sys
from collections.abc import Sequence
from typing import Any

from framewise.core.errors import RequestError, SettingsError
from framewise.core.tables import table_lines
from framewise.settings import Settings
from framewise.store.database import DATABASE_NAME, Database


def service_database(settings: Settings) -> Database:
    """Database of the service. Raises StorageDamaged, and SettingsError if there is none, because the settings are then not
    those of the service."""
    from framewise.foundation import open_database

    path = settings.data_dir / DATABASE_NAME
    if not path.exists():
        raise SettingsError(f"DATA_DIR: {settings.data_dir} holds no {DATABASE_NAME}; give the settings of the service")
    return open_database(settings)


def service_backend(settings: Settings) -> Any:
    """Use cases of the service. Imported here, so that listing versions does not wait for torch."""
    service_database(settings)
    from framewise.assembly import Assembly

    return Assembly(settings).backend


def print_in_use(told: dict[str, Any]) -> None:
    """Print the versions in use after a roll-back or unpinning. told: the answer of the use case."""
    for use in told["controls"]:
        print(f"project {told['project']}, {use['control']}: {use['version']} is in use{', pinned' * use['pinned']}")
    if not told["controls"]:
        print(f"project {told['project']}: nothing is trained yet")
    if any(use["pinned"] for use in told["controls"]):
        print('Versions trained after a submit are kept, but not used, until somebody presses "Start training" in Label Studio')
        print(f"or runs: framewise unpin {told['project']}")


def agreed() -> bool:
    """Ask for confirmation of a removal. Raises RequestError without a terminal."""
    if not sys.stdin.isatty():
        raise RequestError("this removes data for good, and there is no terminal to ask for confirmation; add --yes")
    try:
        return input('This is removed for good. Type "yes" to continue: ').strip() == "yes"
    except EOFError:
        return False


def print_table(rows: Sequence[Sequence[str]]) -> None:
    for line in table_lines(rows):
        print(line)
