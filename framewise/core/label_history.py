"""History of a project's label names, one labeling config after the other, so that a rename loses no annotation.

A *label set* is what one labeling config says of labels: from_name -> [(name, the tag's other attributes)], in order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from framewise.core.media_kinds import MEDIA

Label = tuple[str, dict[str, str]]
LabelSet = Mapping[str, Sequence[Label]]
Names = dict[str, dict[str, str]]  # from_name -> {a name once: the name now}


def renames(before: LabelSet, after: LabelSet) -> Names:
    """Labels that were renamed from one labeling config to the next.

    A label counts as renamed when at its place in the same control there is now another name on a tag whose other attributes
    are the same, and no label of that control was added, removed or moved besides such renames.
    """
    return {c: _renamed(before[c], after[c]) for c in before if c in after}


def _renamed(before: Sequence[Label], after: Sequence[Label]) -> dict[str, str]:
    old, new = {name for name, _ in before}, {name for name, _ in after}
    pairs = [(a, b) for a, b in zip(before, after, strict=False) if a[0] != b[0]]
    moved = any(a[0] in new or b[0] in old for a, b in pairs)
    changed = any(a[1] != b[1] for a, b in pairs)
    return {} if len(before) != len(after) or moved or changed else {a[0]: b[0] for a, b in pairs}


def names_now(history: Sequence[LabelSet], at: int) -> Names:
    """Current name of each name in the history, where it was written while the label set history[at] was in force.

    A name that this set does not have is a leftover of an earlier one, which was the last to have it; else of a later one.
    """
    steps = [renames(a, b) for a, b in zip(history, history[1:], strict=False)]
    known: dict[str, set[str]] = {}
    for labels in history:
        for control, tags in labels.items():
            known.setdefault(control, set()).update(name for name, _ in tags)
    return {
        control: {name: _follow(name, control, steps[_written(history, at, control, name) :]) for name in sorted(names)}
        for control, names in known.items()
    }


def _written(history: Sequence[LabelSet], at: int, control: str, name: str) -> int:
    having = [i for i, labels in enumerate(history) if any(n == name for n, _ in labels.get(control, ()))]
    return max((i for i in having if i <= at), default=having[0])


def _follow(name: str, control: str, steps: Sequence[Names]) -> str:
    for step in steps:
        name = step.get(control, {}).get(name, name)
    return name


def renamed_result(result: Sequence[Any], names: Names) -> list[Any]:
    """An annotation's regions with the names of now. What is no region of these controls is left as it is."""
    return [_renamed_region(item, names) for item in result]


def _renamed_region(item: Any, names: Names) -> Any:
    value = item.get("value") if isinstance(item, Mapping) else None
    if not isinstance(value, Mapping):
        return item
    field = next((kind.region for kind in MEDIA.values() if isinstance(value.get(kind.region), list)), None)
    known = names.get(str(item["from_name"])) if field and "from_name" in item else None
    if not known or not field:
        return item
    now = [known.get(label, label) if isinstance(label, str) else label for label in value[field]]
    return {**item, "value": {**value, field: now}}
