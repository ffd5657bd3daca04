"""<TimeSeriesLabels> on <TimeSeries>. Its rows are numbers that describe the sensors in each step of a grid."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from framewise.controls.control import Control, Facts, Identity
from framewise.core.media_kinds import SERIES
from framewise.core.progress import Progress
from framewise.core.timeline import SampleAxis
from framewise.features.sensors import SENSORS, SensorRows, SeriesFeatures, SeriesProfile, SeriesReader, series_key
from framewise.labeling_config import SeriesSettings
from framewise.media.group_notes import Clock, Played
from framewise.media.library import MediaFile
from framewise.media.notes import Note
from framewise.media.series_notes import SeriesFacts, series_notes

logger = logging.getLogger(__name__)

INLINE_TEXT = ("it is JSON as text, which the editor does not read", "Import it as an object")


class SeriesControl(Control[SeriesFeatures, SeriesProfile]):
    """A <TimeSeriesLabels> control. Its rows are steps of a grid that all series of the project share."""

    kind = SERIES

    @property
    def _series(self) -> SeriesSettings:
        assert self.settings.series
        return self.settings.series

    @property
    def front_end(self) -> str:
        return SENSORS

    def identity(self) -> Identity:
        return {"sha256": SENSORS, "crop": json.dumps(self._series.channels)}

    def features(self, file: MediaFile, progress: Progress) -> SeriesFeatures:
        return SeriesReader(self.parts.cache).read(file, self._series)

    def cached_features(self, content: str) -> SeriesFeatures | None:
        return SeriesReader(self.parts.cache).cached(content, self._series)

    def subject(self, source: str) -> str:
        stamp = _content(source) if self._series.inline else self.parts.media.stamp(source)
        return f"{SENSORS} {hashlib.sha256(series_key(self._series).encode()).hexdigest()[:12]} {stamp}"

    def known_content(self, source: str, task: int | None) -> str | None:
        return _content(source) if self._series.inline else super().known_content(source, task)

    def opened(self, source: str, task: int | None, progress: Progress) -> AbstractContextManager[MediaFile]:
        return _written(source) if self._series.inline else super().opened(source, task, progress)

    def at_hand(self, source: str) -> Path | None:
        return None if self._series.inline else super().at_hand(source)

    def played(self, features: SeriesFeatures) -> Played:
        times = features.times
        return Played(self.to_name, float(times.seconds[-1]) + times.period_seconds, Clock.of(times))

    def facts(self, path: Path | None, features: SeriesFeatures, task_data: Mapping[str, Any]) -> Facts:
        from framewise.media.series_shown import shown_problem  # imports pandas, which web processes do not need

        facts = SeriesFacts.of(features.times, features.ranges, features.profile().spreads)
        unread = self._series.inline and isinstance(self.settings.media_value(task_data), str)
        not_shown = INLINE_TEXT if unread else shown_problem(path, self._series) if path else None
        return {**facts.to_json(), "not_shown": not_shown}

    def notes(
        self, name: str, facts: Facts, task_data: Mapping[str, Any], profile: SeriesProfile | None, annotated: int
    ) -> list[Note]:
        usual = (profile.spreads, profile.grid.sample_rate) if profile else ((), None)
        problem = facts.get("not_shown")
        shown = [Note("Label Studio's editor cannot show this series as it is", "", problem[1], problem[0])] if problem else []
        return shown + (series_notes(SeriesFacts.from_json(facts), self._series, *usual) if "ranges" in facts else [])

    def profile_of(self, features: Sequence[SeriesFeatures]) -> SeriesProfile:
        return SeriesProfile.of(features)

    def read_profile(self, written: Mapping[str, Any]) -> SeriesProfile:
        return SeriesProfile.from_json(written)

    def rate(
        self, features: SeriesFeatures | None, task_data: Mapping[str, Any], profile: SeriesProfile | None
    ) -> float | None:
        if profile:
            return profile.grid.rate
        return features.own_rate() if features else None

    def rows(self, features: SeriesFeatures, rate: float, profile: SeriesProfile | None, beside: bool) -> SensorRows:
        sample_rate = profile.grid.sample_rate if profile else None
        return features.rows(rate, features.num_steps_beside(rate) if beside else None, sample_rate)

    def axis(self, features: SeriesFeatures, task_data: Mapping[str, Any]) -> SampleAxis:
        return features.axis


def _content(inline: str) -> str:
    return hashlib.sha256(inline.encode()).hexdigest()


@contextmanager
def _written(inline: str) -> Iterator[MediaFile]:
    """Context with a file of an inline series."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.json"
        path.write_text(inline, encoding="utf-8")
        yield MediaFile(path, _content(inline))
