"""Parts of commands that run beside a service: its database, its use cases, the question before something is removed."""

import sys
from collections.abc import Sequence
from typing import Any

from framewise.core.errors import RequestError, SettingsError
from framewise.core.tables import table_lines
from framewise.settings import Settings
from framewise.store.database import DATABASE_NAME, Database


def service_database(settings: Settings) -> Database:
    """The database that the service made. Raises SettingsError if there is none: then the settings are not the service's."""
    path = settings.data_dir / DATABASE_NAME
    if not path.exists():
        raise SettingsError(f"DATA_DIR: {settings.data_dir} holds no {DATABASE_NAME}; give the settings of the service")
    return Database(path)


def service_backend(settings: Settings) -> Any:
    """The use cases. Imported here: who lists versions does not wait for torch."""
    service_database(settings)
    from framewise.assembly import Assembly

    return Assembly(settings).backend


def print_in_use(told: dict[str, Any]) -> None:
    """Print which versions are in use after a roll-back or its end, as the use cases tell it."""
    for use in told["controls"]:
        print(f"project {told['project']}, {use['control']}: {use['version']} is in use{', pinned' * use['pinned']}")
    if not told["controls"]:
        print(f"project {told['project']}: nothing is trained yet")
    if any(use["pinned"] for use in told["controls"]):
        print('What is trained after a submit is kept, but not used, until somebody presses "Start training" in Label Studio')
        print(f"or runs: framewise unpin {told['project']}")


def agreed() -> bool:
    """Ask whether to remove something for good. Raises RequestError if nobody is there to answer."""
    if not sys.stdin.isatty():
        raise RequestError("this is removed for good, and nobody is there to be asked; add --yes")
    try:
        return input('This is removed for good. Type "yes" to go on: ').strip() == "yes"
    except EOFError:
        return False


def print_table(rows: Sequence[Sequence[str]]) -> None:
    for line in table_lines(rows):
        print(line)
