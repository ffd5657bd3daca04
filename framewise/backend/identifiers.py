"""Identifiers in requests and events, read and checked: projects, tasks, annotations."""

import datetime
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from framewise.core.errors import RequestError

# Number of projects that exist only here: Label Studio counts its own from 1.
OFFLINE_NUMBER = 0
NO_PROJECT = f"{OFFLINE_NUMBER}.0"  # project of tasks that have none


def is_offline(key: str) -> bool:
    """True if a project was created by the command line, not by Label Studio."""
    return project_id(key) == OFFLINE_NUMBER


PROJECT_KEY = re.compile(r"[0-9]{1,19}(\.[0-9]{1,19})?")


def project_id(key: str) -> int:
    """Label Studio's number of a project from "<id>.<unix time>". Raises RequestError."""
    head = key.split(".")[0]
    if not PROJECT_KEY.fullmatch(key) or not is_id(int(head)):
        raise RequestError(f"expected a project as 'id.time of creation', such as '7.1795200057', found {key!r}")
    return int(head)


def project_number(project: Mapping[str, Any]) -> int:
    """Number of an event's project. Raises RequestError."""
    number = project.get("id")
    if not is_id(number):
        raise RequestError(f"webhook: expected the project's number in 'project.id', found {number!r}")
    return number


def creation_time(project: Mapping[str, Any]) -> int | None:
    """Creation time of an event's project, Unix seconds as in its key; None if the event has none. Raises RequestError."""
    created = project.get("created_at")
    if not isinstance(created, str):
        return None
    try:
        return int(datetime.datetime.fromisoformat(created).timestamp())
    except ValueError:
        raise RequestError(f"webhook: expected a time in 'project.created_at', found {created!r}") from None


def task_data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Data of a task of a request. Raises RequestError if the value is not a task."""
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(data, Mapping) or not is_id(task.get("id")):
        raise RequestError(f"expected a task with a number 'id' and an object 'data', found {str(task)[:200]}")
    return data


def is_task(task: Mapping[str, Any]) -> bool:
    return is_id(task.get("id")) and isinstance(task.get("data") or {}, Mapping)


def is_id(value: Any) -> TypeGuard[int]:
    """True if a value is a number that Label Studio and a database can use as an id; True is an int only to Python."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def storable(text: str) -> str:
    """Text that UTF-8 can encode: JSON may contain half of a surrogate pair, which becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Objects of a list, or a single one as a list."""
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, Mapping)]


def ids(value: Any) -> list[int]:
    """Ids of those objects in a list that have one."""
    return [v["id"] for v in mappings(value) if is_id(v.get("id"))]
