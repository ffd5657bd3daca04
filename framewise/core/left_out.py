"""Regions of an annotation that are left out or cut, and sentences about them for annotators."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import brief
from framewise.core.media_kinds import MEDIA
from framewise.core.regions import begins_early


@dataclass(frozen=True)
class LeftOut:
    """Counts of an annotation's regions.

    own: number of labelled regions of the given controls. gone: names of controls that have regions but are not in the labeling
    config. unlabelled: given controls that have regions without a label.
    early: number of own regions that begin before the first frame and are cut.
    """

    own: int
    gone: tuple[str, ...]
    unlabelled: tuple[str, ...]
    early: int = 0

    @property
    def is_all(self) -> bool:
        """True if there are regions and all of them are left out."""
        return bool(self.gone or self.unlabelled) and not self.own

    def reasons(self, have: Collection[str]) -> list[str]:
        """Descriptions of the regions that are left out, one per control. have: names of the labeling config's controls."""
        names = ", ".join(map(brief, sorted(have)))
        found = [
            f"regions of {brief(name)}, a control that the labeling config does not have (it has {names}); was it renamed?"
            for name in self.gone
        ]
        without = "without a label of it, which the editor shows as empty"
        return found + [f"regions of {brief(name)} {without}" for name in self.unlabelled]

    def notes(self, have: Collection[str]) -> list[str]:
        """Sentences for the annotator on regions that are left out or cut."""
        cut = ["regions that begin before frame 1, the first that Label Studio has, are cut to it"] if self.early else []
        return [f"left out: {reason}" for reason in self.reasons(have)] + cut


def left_out(result: Sequence[Any], controls: Mapping[str, str], have: Collection[str]) -> LeftOut:
    """Count the regions of an annotation's ``result`` that are left out. controls: from_name -> region type of the controls in
    question. have: names of all controls on media in the labeling config; empty if unknown."""
    own, early = 0, 0
    gone, unlabelled = dict[str, None](), dict[str, None]()
    for name, value in _intervals(result):
        if name in controls:
            labels = value.get(controls[name])
            own += bool(labels)
            early += bool(labels) and begins_early(value)
            if not labels:
                unlabelled[name] = None
        elif have and name not in have and any(isinstance(value.get(kind.region), list) for kind in MEDIA.values()):
            gone[name] = None
    return LeftOut(own, tuple(gone), tuple(unlabelled), early)


def _intervals(result: Sequence[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (from_name, value) of each region in time. Regions of text, which also have a start and an end, are skipped."""
    for item in result:
        value = item.get("value") if isinstance(item, Mapping) else None
        if not isinstance(value, Mapping) or not isinstance(item.get("from_name"), str):
            continue
        if "ranges" in value or ("start" in value and "end" in value and "text" not in value):
            yield item["from_name"], value
