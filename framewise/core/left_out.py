"""Regions of an annotation that are left out or moved, in words: in silence they would teach that nothing is on there."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import brief
from framewise.core.media_kinds import MEDIA
from framewise.core.regions import begins_early


@dataclass(frozen=True)
class LeftOut:
    """Counts of an annotation's regions.

    own: regions with a label of the controls that were asked about. gone: by from_name, those of controls that the labeling
    config does not have. unlabelled: by from_name, those of the controls without a label where it belongs. early: own regions
    that begin before the first frame, and are cut.
    """

    own: int
    gone: Mapping[str, int]
    unlabelled: Mapping[str, int]
    early: int = 0

    @property
    def is_all(self) -> bool:
        """True if there are regions, and none is left."""
        return bool(self.gone or self.unlabelled) and not self.own

    def reasons(self, have: Collection[str]) -> list[str]:
        """Sentences on regions that are left out, one a control. have: names of the controls that the labeling config has."""
        names = ", ".join(map(brief, sorted(have)))
        found = [
            f"{_regions(number)} {'belong' if number > 1 else 'belongs'} to {brief(name)}, and the labeling config has no such "
            f"control, only {names}; was it renamed?"
            for name, number in self.gone.items()
        ]
        return found + [
            f"{_regions(number)} of {brief(name)} without a label of it, which the editor shows as empty"
            for name, number in self.unlabelled.items()
        ]

    def notes(self, have: Collection[str]) -> list[str]:
        """Sentences for whoever annotated: what is left out, and what is cut."""
        verbs = ("begin", "are") if self.early > 1 else ("begins", "is")
        cut = f"{_regions(self.early)} {verbs[0]} before frame 1, the first that Label Studio has, and {verbs[1]} cut to it"
        return [f"left out: {reason}" for reason in self.reasons(have)] + ([cut] if self.early else [])


def left_out(result: Sequence[Any], controls: Mapping[str, str], have: Collection[str]) -> LeftOut:
    """Regions of an annotation's ``result`` that are left out. controls: from_name -> type of its regions, of the controls that
    are asked about. have: names of all controls on media that the labeling config has, empty if that is not known."""
    own, early = 0, 0
    gone, unlabelled = Counter[str](), Counter[str]()
    for name, value in _intervals(result):
        if name in controls:
            labels = value.get(controls[name])
            own += bool(labels)
            early += bool(labels) and begins_early(value)
            unlabelled[name] += not labels
        elif have and name not in have and any(isinstance(value.get(kind.region), list) for kind in MEDIA.values()):
            gone[name] += 1
    return LeftOut(own, dict(gone), dict(+unlabelled), early)


def _intervals(result: Sequence[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(from_name, value) of each region in time; one of text has start and end as well."""
    for item in result:
        value = item.get("value") if isinstance(item, Mapping) else None
        if not isinstance(value, Mapping) or not isinstance(item.get("from_name"), str):
            continue
        if "ranges" in value or ("start" in value and "end" in value and "text" not in value):
            yield item["from_name"], value


def _regions(number: int) -> str:
    return f"{number} region{'s' * (number != 1)}"
