"""Files of tasks: what Label Studio exports and imports, also before version 1.0, a task a line (JSONL), or one alone."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framewise.core.errors import RequestError, brief
from framewise.core.files import read_text

EXPORT = "in Label Studio, choose Export > JSON"
# Names of before Label Studio 1.0, each beside the one that it has now.
OLDER_NAMES = {"was_cancelled": "skipped", "ground_truth": "honeypot", "updated_at": "created_at"}


def read_task_file(path: Path, plain: bool = False) -> list[Any]:
    """The tasks of a file, at least one, with ``annotations`` where earlier versions of Label Studio wrote ``completions``.

    plain: also a task that is no more than its data. Raises RequestError for a file of something else.
    """
    try:
        items = _values(read_text(path))
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) and error.lineno > 1 else ""
        raise RequestError(f"{path} is not valid JSON{where}, or nested too deeply; {EXPORT}") from None
    if len(items) == 1 and isinstance(items[0], list):
        items = items[0]
    elif not all(isinstance(item, dict) and (plain or "data" in item) for item in items):
        items = []
    if not items:
        found = brief(read_text(path).strip()[:80])
        raise RequestError(f"{path}: expected a list of tasks, as Label Studio's Export > JSON writes it, found {found}")
    return _with_annotations(items)


def _values(text: str) -> list[Any]:
    """All values of JSON that follow each other in a text. Raises ValueError."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        if text[place] in " \t\r\n":
            place += 1
            continue
        value, place = decoder.raw_decode(text, place)
        found.append(value)
    return found


def _with_annotations(items: list[Any]) -> list[Any]:
    """Items with annotations in the place of completions, which are numbered anew if their numbers do not tell them apart."""
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
    """Unix time as Label Studio writes times now; "" for none that can be."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
