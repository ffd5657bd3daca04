"""History of a project's label names over successive labeling configs, so that annotations survive renames.

A *label set* holds the labels of one labeling config: from_name -> [(name, the tag's other attributes)], in order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from framewise.core.media_kinds import MEDIA

Label = tuple[str, dict[str, str]]
LabelSet = Mapping[str, Sequence[Label]]
Names = dict[str, dict[str, str]]  # from_name -> {earlier name: current name}


def renames(before: LabelSet, after: LabelSet) -> Names:
    """Labels that were renamed from one labeling config to the next.

    A label counts as renamed if the tag at the same position of the same control has another name and otherwise equal
    attributes, and no label of that control was added, removed or moved.
    """
    return {c: _renamed(before[c], after[c]) for c in before if c in after}


def _renamed(before: Sequence[Label], after: Sequence[Label]) -> dict[str, str]:
    old, new = {name for name, _ in before}, {name for name, _ in after}
    pairs = [(a, b) for a, b in zip(before, after, strict=False) if a[0] != b[0]]
    moved = any(a[0] in new or b[0] in old for a, b in pairs)
    changed = any(a[1] != b[1] for a, b in pairs)
    return {} if len(before) != len(after) or moved or changed else {a[0]: b[0] for a, b in pairs}


def names_now(history: Sequence[LabelSet], at: int) -> Names:
    """Current name of each name in the history, for annotations written under the label set history[at].

    A name that this set lacks comes from the last earlier set that has it, otherwise from a later one.
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
    """An annotation's result with current label names. Items that are not regions of these controls stay unchanged."""
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
