"""Files of tasks: exports and imports of Label Studio, also of before version 1.0; JSONL; single tasks."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framewise.core.errors import RequestError, brief
from framewise.core.files import read_text

EXPORT = "in Label Studio, choose Export > JSON"
# Current names of fields, and their names before Label Studio 1.0.
OLDER_NAMES = {"was_cancelled": "skipped", "ground_truth": "honeypot", "updated_at": "created_at"}


def read_task_file(path: Path, plain: bool = False) -> list[Any]:
    """Items of a file of tasks, at least one of them a task. ``completions`` of earlier versions of Label Studio are read as
    ``annotations``. For callers that report errors per task; others use ``read_tasks``.

    plain: accept tasks that consist of their data only. Raises RequestError for any other file, JSON-MIN included.
    """
    try:
        items = _values(read_text(path))
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) and error.lineno > 1 else ""
        raise RequestError(f"{path} is not valid JSON{where}, or nested too deeply; {EXPORT}") from None
    if len(items) == 1 and isinstance(items[0], list):
        items = items[0]
    elif not all(isinstance(item, dict) and item and (plain or "data" in item) for item in items):
        items = []
    if not any(isinstance(item, Mapping) for item in items):
        found = brief(read_text(path).strip()[:80])
        raise RequestError(f"{path}: expected a list of tasks, as Label Studio's Export > JSON writes it, found {found}")
    _refuse_json_min(path, items, plain)
    return _with_annotations(items)


def read_tasks(path: Path, plain: bool = False) -> list[dict[str, Any]]:
    """Tasks of a file: objects, each with an object ``data`` and with lists of annotations and predictions if it has any; no
    id occurs twice.

    plain: accept tasks that consist of their data only. Raises RequestError.
    """
    items = read_task_file(path, plain)
    ids = set()
    for place, item in enumerate(items, 1):
        if not isinstance(item, dict) or not isinstance(item.get("data", item if plain else None), dict):
            raise RequestError(f"{path}: item {place}: expected a task with an object 'data', found {brief(item)}")
        for name in ("annotations", "predictions"):
            if not isinstance(item.get(name) or [], list):
                raise RequestError(f"{path}: item {place}: expected {name} in a list, found {brief(item[name])}; {EXPORT}")
        number = item.get("id")
        if "data" in item and type(number) is int:  # without "data", it is a field of the data
            if number in ids:
                raise RequestError(f"{path}: item {place}: a second task {number}; give one export of one project")
            ids.add(number)
    return items


def _refuse_json_min(path: Path, items: list[Any], plain: bool) -> None:
    """Raises RequestError for annotations beside their task's data, as Label Studio's Export > JSON-MIN writes them."""
    without = [item for item in items if isinstance(item, Mapping) and "data" not in item]
    if any("annotation_id" in item for item in without) or (not plain and len(without) == len(items)):
        raise RequestError(f"{path}: its tasks have no 'data'; it looks like JSON-MIN: {EXPORT}")


def _values(text: str) -> list[Any]:
    """JSON values that follow each other in a text. Raises ValueError."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        if text[place] in " \t\r\n":
            place += 1
            continue
        value, place = decoder.raw_decode(text, place)
        found.append(value)
    return found


def _with_annotations(items: list[Any]) -> list[Any]:
    """Items with annotations in place of completions. Completions whose ids are not unique numbers get new ids."""
    old = [place for place, item in enumerate(items) if isinstance(item, Mapping) and _completions(item)]
    numbers = [completion.get("id") for place in old for completion in _completions(items[place])]
    are_numbered = all(type(number) is int for number in numbers) and len(set(numbers)) == len(numbers)
    told = [dict(item) if place in set(old) else item for place, item in enumerate(items)]
    number = 0
    for place in old:
        annotations = []
        for completion in _completions(told[place]):
            number += 1
            annotations.append(_annotation(completion) | ({} if are_numbered else {"id": number}))
        told[place]["annotations"] = annotations
        del told[place]["completions"]
    return told


def _completions(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = item.get("completions")
    usable = isinstance(given, list) and all(isinstance(one, Mapping) for one in given) and not item.get("annotations")
    return given if usable and given else []


def _annotation(completion: Mapping[str, Any]) -> dict[str, Any]:
    older = {name: completion[old] for name, old in OLDER_NAMES.items() if old in completion and name not in completion}
    moment = older.get("updated_at")
    if isinstance(moment, int | float):
        older["updated_at"] = _iso(moment)
    return {**completion, **older}


def _iso(seconds: float) -> str:
    """Unix time as current Label Studio writes it; "" if it is out of range."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
