"""Kinds of media that are labelled in time: Label Studio's tags, the type of their regions, and the unit these are in."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["frames", "samples", "seconds"]


@dataclass(frozen=True)
class MediaKind:
    """A kind of media.

    control: tag of controls on it. object: tag that shows it; older_objects: other tags for the same. region: type of its
    regions, and the field of their labels. unit: of its regions' ends. noun: for people. cached_as: stands in the cache's keys
    where others have the content of a backbone; "" for media whose features are of one. only_here: False for a control that is
    also on text and other things, where it is left alone.
    """

    control: str
    object: str
    region: str
    unit: Unit
    noun: str
    cached_as: str = ""
    older_objects: tuple[str, ...] = ()
    only_here: bool = True

    @property
    def possessive(self) -> str:
        return self.noun + ("'" if self.noun.endswith("s") else "'s")

    @property
    def tag(self) -> str:
        """The tag that shows it, with its article."""
        return f"{'an' if self.object[0] in 'AEIOU' else 'a'} {self.object}"


VIDEO = MediaKind("TimelineLabels", "Video", "timelinelabels", "frames", "video")
SOUND = MediaKind("Labels", "Audio", "labels", "seconds", "sound", "sound", ("AudioPlus",), only_here=False)
SERIES = MediaKind("TimeSeriesLabels", "TimeSeries", "timeserieslabels", "samples", "series", "time series")

MEDIA = {kind.control: kind for kind in (VIDEO, SOUND, SERIES)}  # by the tag of the control
MEDIA_TAGS = tuple(kind.object for kind in MEDIA.values())
# Label Studio's editor does not look at the case of tags, and has two names for some.
TAGS = {tag.lower(): tag for tag in (*MEDIA, *MEDIA_TAGS, "Label", "Channel", "MultiChannel", "Repeater", "HyperText")}
TAGS |= {older.lower(): kind.object for kind in MEDIA.values() for older in kind.older_objects}


def expected_controls() -> str:
    """Controls that are filled in, for messages."""
    *first, last = (f"{kind.control} on {kind.object}" for kind in MEDIA.values())
    return f"{', '.join(first)} or {last}"
