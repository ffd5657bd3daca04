"""<TimeSeriesLabels> on <TimeSeries>: trainable mode, on what its sensors measure in each step of a grid over time."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from framewise.controls.base import Features, Progress
from framewise.controls.timeline_labels import TimelineLabelsModel
from framewise.controls.without_pictures import WithoutPictures
from framewise.core.converter import Segment
from framewise.core.regions import TimelineRegion
from framewise.core.series_regions import read_series_regions, series_region_frames, write_series_region
from framewise.features.sensors import SENSORS, SeriesFeatures, series_key
from framewise.labeling_config import SeriesSettings
from framewise.media.advice import Channels, channel_advice, series_advice
from framewise.media.library import MediaFile

logger = logging.getLogger(__name__)


class TimeSeriesLabelsModel(WithoutPictures):
    """A <TimeSeriesLabels> control. It learns as a timeline does; its rows are steps of the series' own grid."""

    type = "TimeSeriesLabels"
    media_tag = "TimeSeries"

    @property
    def _series(self) -> SeriesSettings:
        assert self.control.series
        return self.control.series

    @property
    def backbone_name(self) -> str:
        return SENSORS

    def known_content(self, source: str, task: int | None) -> str | None:
        return _content(source) if self._series.inline else super().known_content(source, task)

    def opened(self, source: str, task: int | None, progress: Progress) -> AbstractContextManager[MediaFile]:
        return _written(source) if self._series.inline else super().opened(source, task, progress)

    def subject(self, source: str) -> str:
        stamp = _content(source) if self._series.inline else self._parts.media.stamp(source)
        return f"{SENSORS} {hashlib.sha256(series_key(self._series).encode()).hexdigest()[:12]} {stamp}"

    def advice(self, file: MediaFile, name: str, features: Features, task_data: Mapping[str, Any]) -> list[str]:
        assert isinstance(features, SeriesFeatures)
        learner = self.learner
        profile = learner._profiles.get(self.control.to_name) if isinstance(learner, TimelineLabelsModel) else None
        found = Channels(
            features.ranges,
            features.profile().spreads,
            features.sample_rate,
            profile.spreads if profile else (),
            profile.grid.sample_rate if profile else None,
        )
        return [*series_advice(features.times, self._series), *channel_advice(found, self._series)]

    def features(self, file: MediaFile, progress: Progress) -> SeriesFeatures:
        return self._parts.series.read(file, self._series)

    def cached_features(self, content: str) -> SeriesFeatures | None:
        return self._parts.series.cached(content, self._series)

    def regions_of(
        self, segments: Sequence[Segment], labels: Sequence[str], features: Features, rate: float, task_data: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        assert isinstance(features, SeriesFeatures)
        regions, name = [], (self.control.from_name, self.control.to_name)
        for segment in segments:
            label, frames = labels[segment.label_index], (segment.index + 1, segment.stop)
            # A region needs a sample to begin at. Between two samples of a slow sensor there is none, nor in a gap.
            samples = features.times.samples_in(*frames, rate)
            if samples is None and rate != features.own_rate():
                samples = features.times.instant_in(*frames, rate)
            if samples is None:
                logger.info("%r: %r in steps %d-%d has no sample", name[0], label, *frames)
                continue
            regions.append(write_series_region([label], samples, features.times, *name, segment.score, segment.instant))
        return regions

    def frames_of(
        self, result: Sequence[Any], features: Features, rate: float, task_data: Mapping[str, Any]
    ) -> list[TimelineRegion]:
        assert isinstance(features, SeriesFeatures)
        regions = read_series_regions(result, self.control.from_name)
        return [series_region_frames(region, features.times, rate) for region in regions]

    def _features_identity(self) -> dict[str, str | None]:
        return {"sha256": SENSORS, "crop": json.dumps(self._series.channels)}


def _content(inline: str) -> str:
    return hashlib.sha256(inline.encode()).hexdigest()


@contextmanager
def _written(inline: str) -> Iterator[MediaFile]:
    """A series of a task's data as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.json"
        path.write_text(inline, encoding="utf-8")
        yield MediaFile(path, _content(inline))
