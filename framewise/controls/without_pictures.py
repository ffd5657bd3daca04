"""What controls on media without pictures have in common: trainable mode alone, on rows that need no backbone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from framewise.controls.base import Example, Features, Predicted, Profiles
from framewise.controls.timeline_labels import TimelineLabelsModel, certainty
from framewise.core.errors import ConfigError
from framewise.core.intervals import Intervals
from framewise.features.extraction import VideoFeatures
from framewise.features.sensors import SeriesFeatures
from framewise.labeling_config import DEFAULTS
from framewise.learning.tracks import Rows


class WithoutPictures(TimelineLabelsModel):
    """A control on sound or sensors. It learns as a timeline does; its rows are steps of a grid of its own."""

    def check(self) -> None:
        where, parameters = f"<{self.type} name={self.control.from_name!r}>", self.control.parameters
        tag = f"{'an' if self.media_tag[0] in 'AEIOU' else 'a'} <{self.media_tag}>"
        if not self.trainable:
            raise ConfigError(
                f"{where}: simple mode is of pictures, and {tag} has none; set "
                'model_trainable="true", or model_skip="true" to leave it alone'
            )
        if parameters["model_classifier_type"] != "auto":
            raise ConfigError(f"{where}: model_classifier_type must be auto on {tag}")
        for name in ("model_path", "model_crop"):
            if parameters[name] != DEFAULTS[name]:
                raise ConfigError(f"{where}: {name} is of pictures, and {tag} has none; remove it")

    def predict_regions(self, video_path: str) -> list[dict[str, Any]]:
        """Regions of the medium in a file. Raises ModelError if it is not trained yet."""
        with self.opened(video_path, None, lambda share, detail: None) as file:
            return self.predict(self.features(file, lambda share, detail: None), 0.0).regions

    def predict(self, features: Features, frame_rate: float) -> Predicted:
        rate, rows = self._steps(features, self._profiles)
        segments, labels, scores = self._trained_segments(rows)
        intervals = Intervals.of(segments, labels, len(rows), rate)
        regions = self.regions_of(segments, labels, features, rate, {})
        return Predicted(regions, certainty(scores), {self.control.from_name: intervals})

    def example(
        self,
        features: Features,
        frame_rate: float,
        result: Sequence[Any],
        content: str,
        told: Sequence[str] | None = None,
    ) -> Example:
        def on_grid(profiles: Profiles) -> Example:
            rate, rows = self._steps(features, profiles)
            return self._example(rows, self.frames_of(result, features, rate, {}), content, told)

        series = {self.control.to_name: features} if isinstance(features, SeriesFeatures) else {}
        return replace(on_grid({}), series=series, on_grid=on_grid)

    def _steps(self, features: Features, profiles: Profiles) -> tuple[float, Rows]:
        """Steps a second, and the steps: on the grid of the project's series where that is known, else on the medium's own."""
        assert not isinstance(features, VideoFeatures)
        if isinstance(features, SeriesFeatures):
            profile = profiles.get(self.control.to_name)
            grid = profile.grid if profile else features.own_grid()
            return grid.rate, features.rows(grid.rate, sample_rate=grid.sample_rate)
        rate = features.own_rate()
        return rate, features.rows(rate)
