"""<Labels> on <Audio>: what is heard in each step of a grid over time."""

from collections.abc import Mapping, Sequence
from typing import Any

from framewise.controls.control import Control, Identity
from framewise.core.audio_regions import audio_region_frames, read_audio_regions, write_audio_region
from framewise.core.converter import Segment
from framewise.core.media_kinds import SOUND
from framewise.core.progress import Progress
from framewise.core.regions import TimelineRegion
from framewise.features.sound import LOG_MEL, SoundFeatures, SoundReader, SoundRows
from framewise.media.group_advice import Played
from framewise.media.library import MediaFile


class AudioControl(Control[SoundFeatures, None]):
    """A <Labels> control on an <Audio>."""

    kind = SOUND

    @property
    def front_end(self) -> str:
        return LOG_MEL

    def identity(self) -> Identity:
        return {"sha256": LOG_MEL, "crop": None}

    def features(self, file: MediaFile, progress: Progress) -> SoundFeatures:
        return SoundReader(self.parts.cache).read(file)

    def cached_features(self, content: str) -> SoundFeatures | None:
        return SoundReader(self.parts.cache).cached(content)

    def subject(self, source: str) -> str:
        return f"{LOG_MEL} {self.parts.media.stamp(source)}"

    def played(self, features: SoundFeatures, task_data: Mapping[str, Any]) -> Played:
        return Played(self.to_name, features.duration_seconds)

    def rate(self, features: SoundFeatures | None, task_data: Mapping[str, Any], profile: None) -> float | None:
        return features.own_rate() if features else None

    def rows(self, features: SoundFeatures, rate: float, profile: None, beside: bool) -> SoundRows:
        return features.rows(rate)

    def frames_of(
        self, result: Sequence[Any], features: SoundFeatures, rate: float, task_data: Mapping[str, Any]
    ) -> list[TimelineRegion]:
        regions = read_audio_regions(result, self.settings.from_name)
        return [audio_region_frames(region, features.duration_seconds, rate) for region in regions]

    def regions_of(
        self,
        segments: Sequence[Segment],
        labels: Sequence[str],
        features: SoundFeatures,
        rate: float,
        task_data: Mapping[str, Any],
    ) -> list[dict[str, Any]]:
        seconds, names = features.duration_seconds, (self.settings.from_name, self.settings.to_name)
        heard = [s for s in segments if s.index / rate < seconds]
        return [
            write_audio_region([labels[s.label_index]], (s.index + 1, s.stop), seconds, rate, names, s.score) for s in heard
        ]
