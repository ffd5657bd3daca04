"""Regions of an annotation that are left out or moved, in words: in silence they would teach that nothing is on there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import brief
from framewise.core.media_kinds import MEDIA
from framewise.core.regions import begins_early


@dataclass(frozen=True)
class LeftOut:
    """Regions of an annotation, counted.

    own: number of regions with a label of the controls that were asked about. gone: names of controls that other regions are
    of, and the labeling config does not have. unlabelled: controls that have regions without a label where it belongs.
    early: number of own regions that begin before the first frame, and are cut.
    """

    own: int
    gone: tuple[str, ...]
    unlabelled: tuple[str, ...]
    early: int = 0

    @property
    def is_all(self) -> bool:
        """True if there are regions, and none is left."""
        return bool(self.gone or self.unlabelled) and not self.own

    def reasons(self, have: Collection[str]) -> list[str]:
        """Regions that are left out, in words, one text a control. have: names of the controls that the labeling config has."""
        names = ", ".join(map(brief, sorted(have)))
        found = [
            f"regions of {brief(name)}, a control that the labeling config does not have (it has {names}); was it renamed?"
            for name in self.gone
        ]
        without = "without a label of it, which the editor shows as empty"
        return found + [f"regions of {brief(name)} {without}" for name in self.unlabelled]

    def notes(self, have: Collection[str]) -> list[str]:
        """Sentences for whoever annotated: what is left out, and what is cut."""
        cut = ["regions that begin before frame 1, the first that Label Studio has, are cut to it"] if self.early else []
        return [f"left out: {reason}" for reason in self.reasons(have)] + cut


def left_out(result: Sequence[Any], controls: Mapping[str, str], have: Collection[str]) -> LeftOut:
    """Regions of an annotation's ``result`` that are left out. controls: from_name -> type of its regions, of the controls that
    are asked about. have: names of all controls on media that the labeling config has, empty if that is not known."""
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
    """(from_name, value) of each region in time; one of text has start and end as well."""
    for item in result:
        value = item.get("value") if isinstance(item, Mapping) else None
        if not isinstance(value, Mapping) or not isinstance(item.get("from_name"), str):
            continue
        if "ranges" in value or ("start" in value and "end" in value and "text" not in value):
            yield item["from_name"], value
