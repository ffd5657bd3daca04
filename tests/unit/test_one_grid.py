"""Examples of series with several sampling rates, put on one grid before they are learned from."""

from dataclasses import replace

import numpy as np
import pytest

from framewise.controls import Example, Medium, SeriesControl
from framewise.controls.examples import on_one_grid, profiles_of
from framewise.core.series_time import SeriesTimes
from framewise.features.sensor_numbers import Grid
from framewise.features.sensors import SeriesFeatures
from framewise.labeling_config import read_labeling_config
from tests.series_help import series_config

CONTROL = SeriesControl(read_labeling_config(series_config())[0], "1", None)


def example(sample_rate, task):
    times = SeriesTimes(np.arange(round(10 * sample_rate)) / sample_rate)
    features = SeriesFeatures(times, np.random.default_rng(task).normal(0, 1, (len(times), 2)).astype(np.float32))

    def on_grid(profiles):
        grid = profiles["sensor"].grid if profiles else Grid(features.own_rate(), sample_rate)
        rows = features.rows(grid.rate, sample_rate=grid.sample_rate)
        nothing, all_rows = np.zeros((len(rows), 1), np.uint8), np.ones(len(rows), bool)
        return Example(rows, nothing, all_rows, np.ones(1, bool), str(task), [])

    return replace(on_grid({}), task=task, media=(Medium(CONTROL, features),), on_grid=on_grid)


def test_all_examples_are_on_the_grid_of_the_middle_one_and_keep_their_tasks():
    own = [example(rate, task) for task, rate in enumerate((100, 50, 12.5), 1)]
    examples, profiles = on_one_grid(own), profiles_of(own)
    assert (profiles["sensor"].grid.rate, profiles["sensor"].grid.sample_rate) == pytest.approx((25, 50))
    assert [e.task for e in examples] == [1, 2, 3]
    assert [len(e.video.rows) for e in examples] == [250, 250, 249]  # up to the last sample
    assert {e.video.rows.frame_rate for e in examples} == {profiles["sensor"].grid.rate}


def test_examples_without_series_stay_as_they_are():
    plain = replace(example(50, 1), media=(), on_grid=None)
    assert on_one_grid([plain]) == [plain]
    assert profiles_of([plain]) == {}
