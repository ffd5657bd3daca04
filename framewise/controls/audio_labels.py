"""<Labels> on <Audio>: trainable mode, on what is heard in each step of a grid over time."""

from collections.abc import Mapping, Sequence
from typing import Any

from framewise.controls.base import Features, Progress
from framewise.controls.without_pictures import WithoutPictures
from framewise.core.audio_regions import audio_region_frames, read_audio_regions, write_audio_region
from framewise.core.converter import Segment
from framewise.core.regions import TimelineRegion
from framewise.features.sound import LOG_MEL, SoundFeatures
from framewise.media.library import MediaFile


class AudioLabelsModel(WithoutPictures):
    """A <Labels> control on an <Audio>."""

    type = "Labels"
    media_tag = "Audio"

    @property
    def backbone_name(self) -> str:
        return LOG_MEL

    def subject(self, source: str) -> str:
        return f"{LOG_MEL} {self._parts.media.stamp(source)}"

    def advice(self, file: MediaFile, name: str, features: Features, task_data: Mapping[str, Any]) -> list[str]:
        return []

    def features(self, file: MediaFile, progress: Progress) -> SoundFeatures:
        return self._parts.sound.read(file)

    def cached_features(self, content: str) -> SoundFeatures | None:
        return self._parts.sound.cached(content)

    def regions_of(
        self, segments: Sequence[Segment], labels: Sequence[str], features: Features, rate: float, task_data: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        assert isinstance(features, SoundFeatures)
        seconds, names = features.duration_seconds, (self.control.from_name, self.control.to_name)
        heard = [s for s in segments if s.index / rate < seconds]
        return [
            write_audio_region([labels[s.label_index]], (s.index + 1, s.stop), seconds, rate, names, s.score) for s in heard
        ]

    def frames_of(
        self, result: Sequence[Any], features: Features, rate: float, task_data: Mapping[str, Any]
    ) -> list[TimelineRegion]:
        assert isinstance(features, SoundFeatures)
        regions = read_audio_regions(result, self.control.from_name)
        return [audio_region_frames(region, features.duration_seconds, rate) for region in regions]

    def _features_identity(self) -> dict[str, str | None]:
        return {"sha256": LOG_MEL, "crop": None}
