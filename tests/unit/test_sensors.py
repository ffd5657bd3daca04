"""What describes a step of a series, worked by hand; and the cache of series."""

import time

import numpy as np
import pytest

from framewise.core.errors import MediaError
from framewise.core.series_time import SeriesTimes
from framewise.core.time_format import TimeFormat
from framewise.features.cache import FeatureCache
from framewise.features.sensors import (
    AGGREGATES,
    BANDS_HZ,
    LEAST_RATE,
    LENGTHS,
    SensorRows,
    SeriesFeatures,
    SeriesReader,
    number_counts,
    step_numbers,
)
from framewise.labeling_config import SeriesSettings
from framewise.learning.tracks import Basis
from framewise.media.library import MediaFile


def steps(native, *channels, rate):
    times = SeriesTimes(np.array(native, dtype=float))
    values = np.array(channels, dtype=np.float32).T
    return step_numbers(times, values, rate, times.num_frames(rate))


def test_aggregates_of_the_samples_in_each_step():
    """Values 1 to 8, whose median is 4.5."""
    numbers = steps(np.arange(8) / 4, range(1, 9), rate=1.0)
    first, own = np.arange(1, 5) - 4.5, np.arange(1, 5)
    assert numbers.shape == (2, AGGREGATES + LENGTHS + len(BANDS_HZ)) == (2, len(number_counts(1)))
    expected = [first.mean(), first.std(), first.min(), first.max(), np.sqrt((first**2).mean())]
    assert numbers[0, :-6] == pytest.approx([*expected, own.mean(), own.std(), abs(first.mean())], abs=1e-6)


def test_a_slower_sensor_is_drawn_as_a_line():
    """One sample a second, four steps a second."""
    numbers = steps([0, 1, 2], [0, 1, 2], rate=4.0)
    assert np.diff(numbers[:, 0]) == pytest.approx([0.25] * 8, abs=1e-6)
    assert np.isfinite(numbers).all()


def test_a_gap_is_not_known():
    """Ten samples a second, none from 1 s to 3 s; the second channel has none in the first half second."""
    native = [k / 10 for k in range(40) if not 10 < k < 30]
    late = [np.nan if t < 0.5 else t for t in native]
    numbers = steps(native, native, late, rate=10.0)
    assert np.isnan(numbers[11:30]).all()
    assert np.isfinite(numbers[[10, 30]]).all()
    assert np.isnan(numbers[:5, AGGREGATES : 2 * AGGREGATES]).all()
    assert np.isfinite(np.delete(numbers[:5], range(AGGREGATES, 2 * AGGREGATES), axis=1)).all()


def test_a_channel_that_has_a_value_now_and_then_is_slower_and_has_no_gaps():
    slow = [k if k % 10 == 0 else np.nan for k in range(101)]
    assert np.isfinite(steps(np.arange(101) / 100, np.arange(101), slow, rate=25.0)).all()


def test_what_is_of_all_channels_is_the_same_however_a_sensor_is_worn():
    random = np.random.default_rng(1)
    channels = np.cumsum(random.normal(0, 1, (3, 500)), axis=1) + [[0], [0], [9.81]]
    turned = np.linalg.qr(random.normal(0, 1, (3, 3)))[0] @ channels
    one, other = (steps(np.arange(500) / 50, *values, rate=25.0) for values in (channels, turned))
    length, spread, swings = 3 * AGGREGATES, 3 * AGGREGATES + 1, slice(3 * AGGREGATES + LENGTHS, None)
    np.testing.assert_allclose(one[:, [length, spread]], other[:, [length, spread]], rtol=1e-4)
    np.testing.assert_allclose(one[:, swings], other[:, swings], rtol=1e-4, atol=1e-4)
    assert np.abs(one[:, :AGGREGATES] - other[:, :AGGREGATES]).max() > 1


@pytest.mark.parametrize(("hz", "band"), [(0.7, 0), (1.4, 1), (2.8, 2), (5.6, 3), (11.3, 4), (22.0, 5)])
@pytest.mark.parametrize("second", [1.0, 3600.0])
def test_what_swings_is_in_its_band_while_it_swings(hz, band, second):
    """In the middle third. A slow series, of a sample a minute, has bands that are as many times slower."""
    moments = np.arange(0, 60, 1 / 60)
    values = 9 * np.sin(2 * np.pi * hz * moments) * ((moments >= 20) & (moments < 40))
    rate = 30.0 if second == 1 else LEAST_RATE / second
    swings = steps(moments * second, values, rate=rate)[:, -len(BANDS_HZ) :]
    steps_a_second = rate * second
    inside = swings[round(24 * steps_a_second) : round(36 * steps_a_second)]
    outside = swings[: round(15 * steps_a_second)]
    assert (inside.argmax(axis=1) == band).all()
    assert inside[:, band] == pytest.approx(np.sqrt(9 / np.sqrt(2)), rel=0.2)
    assert outside.max() < 0.3


def test_bands_that_are_faster_than_the_samples_are_still():
    values = np.random.default_rng(2).normal(0, 1, 200)
    numbers = steps(np.arange(200) / 10, values, rate=10.0)
    assert (numbers[:, -2:] == 0).all()
    assert (numbers[:, -len(BANDS_HZ) : -3] > 0).all()


@pytest.mark.parametrize("values", [[0.0] * 50, [0.0] * 49 + [1e30], [1e-30] * 25 + [2e-30] * 25, [3e38] * 25 + [-3e38] * 25])
def test_what_is_learned_from_stays_moderate_whatever_a_sensor_says(values):
    series = SeriesFeatures(SeriesTimes(np.arange(50) / 10), np.array(values, np.float32)[:, np.newaxis])
    rows = series.rows(10.0)
    components, _ = Basis.fit([rows]).apply(rows)
    assert components.isfinite().all()
    assert (components.abs() <= 10 * np.sqrt(len(number_counts(1)))).all()


def test_one_spike_does_not_make_all_else_the_same():
    """Off or on, and once a number that no sensor gives: on and off are as far apart as without it."""
    random = np.random.default_rng(3)
    values = np.repeat(random.integers(0, 2, 100), 50) + random.normal(0, 0.05, 5000)

    def apart(samples):
        rows = SeriesFeatures(SeriesTimes(np.arange(5000) / 50), samples.astype(np.float32)[:, np.newaxis]).rows(25.0)
        components = Basis.fit([rows]).apply(rows)[0]
        on = values.reshape(-1, 2).mean(axis=1) > 0.5
        return float((components[on].mean(0) - components[~on].mean(0)).norm())

    spiked = values.copy()
    spiked[1234] = 1e6
    assert apart(spiked) == pytest.approx(apart(values), rel=0.3)


def series(native, format=None):
    times = SeriesTimes(np.asarray(native, dtype=float), 1000.0 if format else 1.0, TimeFormat(format) if format else None)
    return SeriesFeatures(times, np.zeros((len(native), 1), np.float32))


@pytest.mark.parametrize(
    ("native", "format", "rate"),
    [
        (np.arange(1000) / 20, None, 20),  # as many steps as samples
        (np.arange(1000) / 50, None, 25),  # two samples a step
        (np.arange(1000) / 100, None, 25),
        (np.round(np.arange(1000) / 30, 3), None, 30),  # 0, 0.033, 0.067, 0.1
        (np.arange(1000) * 3600.0, None, 1 / 3600),
        ([k / 50 for k in range(1000) if not 100 < k < 900], None, 25),  # a gap is no slower sensor
        (np.arange(1000) // 50 * 1000, "%H:%M:%S", 1),
        (np.arange(1000) * 20, "%H:%M:%S.%L", 25),
        (np.arange(40) * 365 * 86_400_000.0, "%Y", 1 / 365 / 86400),
    ],
)
def test_the_grid_of_a_series(native, format, rate):
    assert series(native, format).own_rate() == pytest.approx(rate, rel=1e-3)


def test_a_series_of_too_many_steps_is_refused():
    with pytest.raises(MediaError, match="100000000 s with 25 steps a second has more than 1000000 of them; cut it into parts"):
        series([0, 0.02, 0.04, 0.06, 1e8]).rows(25.0)


def test_rows_have_no_motion_and_a_rate_that_the_learner_can_work_with():
    rows = SensorRows(np.ones((7, 6), np.float32), 1 / 3600, np.ones(6, np.float32))
    read = rows.read(np.array([2, 5]))
    assert (len(rows), rows.frame_rate, read.shape) == (7, 10.0, (2, 6 + rows.motion_size))
    assert (read[:, :6] == 1).all()
    assert (read[:, 6:] == 0).all()


SETTINGS = SeriesSettings("time", "", False, ",", False, ("x",))


def test_a_series_is_read_once_for_all_that_know_its_content(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,x\n0,1\n1,2\n2,4\n")
    file, reader = MediaFile(path, "c" * 64), SeriesReader(FeatureCache(tmp_path / "cache"))
    assert reader.cached("c" * 64, SETTINGS) is None
    first = reader.read(file, SETTINGS).rows(1.0)
    path.unlink()
    again = SeriesReader(FeatureCache(tmp_path / "cache")).cached("c" * 64, SETTINGS)
    assert again.times.seconds.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(again.rows(1.0).read(np.arange(3)), first.read(np.arange(3)))
    assert reader.cached("c" * 64, SeriesSettings("time", "", False, ",", False, ("y",))) is None
    assert not list((tmp_path / "cache").rglob("*.pkl"))


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,x\n0,1\n1,2\n")
    reader = SeriesReader(FeatureCache(tmp_path / "cache"))
    with pytest.raises(MediaError, match="changed while it was read"):
        reader.read(MediaFile(path, "c" * 64, stamp=f"another one at {time.time()}"), SETTINGS)
    assert reader.cached("c" * 64, SETTINGS) is None
