"""Conversion of a task's regions on a series to its new times."""

from typing import Any

from framewise.migrate.findings import NeedsReview, shown
from framewise.migrate.times import Parse, TimeMap


def remapped(task: dict[str, Any], series: str, parse: Parse, time_map: TimeMap) -> tuple[dict[str, Any], int]:
    """(task with the regions on ``series`` in media seconds, their number). Everything else is unchanged, including ids.

    Regions are found by the name of their series anywhere in annotations, predictions and drafts. Raises NeedsReview for a
    region whose time cannot be read.
    """
    count = 0

    def walk(value: Any) -> Any:
        nonlocal count
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        if is_on(value, series):
            count += 1
            return {**value, "value": _moved(value, parse, time_map)}
        return {key: walk(item) for key, item in value.items()}

    try:
        return {key: item if key == "data" else walk(item) for key, item in task.items()}, count
    except RecursionError:
        raise NeedsReview("its annotations are nested more deeply than Label Studio writes them") from None


def is_on(value: dict[str, Any], series: str) -> bool:
    """True if a JSON object is a time region on a series."""
    inner = value.get("value")
    return value.get("to_name") == series and isinstance(inner, dict) and ("start" in inner or "end" in inner)


def _moved(region: dict[str, Any], parse: Parse, time_map: TimeMap) -> dict[str, Any]:
    try:
        ends = {end: float(time_map(parse([region["value"][end]])[0])) for end in ("start", "end") if end in region["value"]}
    except NeedsReview as error:
        raise NeedsReview(f"region {shown(repr(region.get('id')))}: {error}") from None
    return {**region["value"], **ends}
