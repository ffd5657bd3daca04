"""<Labels> on <Audio>. Its rows are steps of a spectrogram on a grid."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framewise.controls.control import Control, Facts, Identity
from framewise.core.media_kinds import SOUND
from framewise.core.progress import Progress
from framewise.core.timeline import SecondsAxis
from framewise.features.sound import LOG_MEL, SoundFeatures, SoundReader, SoundRows
from framewise.media.audio_shown import sound_facts, sound_notes
from framewise.media.group_notes import Played
from framewise.media.library import MediaFile
from framewise.media.notes import Note


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

    def facts(self, path: Path | None, features: SoundFeatures, task_data: Mapping[str, Any]) -> Facts:
        return sound_facts(path) if path else {}

    def notes(self, name: str, facts: Facts, task_data: Mapping[str, Any], profile: None, annotated: int) -> list[Note]:
        return sound_notes(name, facts) if "codec" in facts else []

    def played(self, features: SoundFeatures) -> Played:
        return Played(self.to_name, features.duration_seconds)

    def rate(self, features: SoundFeatures | None, task_data: Mapping[str, Any], profile: None) -> float | None:
        return features.own_rate() if features else None

    def rows(self, features: SoundFeatures, rate: float, profile: None, beside: bool) -> SoundRows:
        return features.rows(rate)

    def axis(self, features: SoundFeatures, task_data: Mapping[str, Any]) -> SecondsAxis:
        return features.axis
