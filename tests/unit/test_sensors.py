"""What describes a step of a series, worked by hand; and the cache of series."""

import time

import numpy as np
import pytest

from framewise.core.errors import MediaError
from framewise.core.series_time import SeriesTimes
from framewise.core.time_format import TimeFormat
from framewise.features.cache import FeatureCache
from framewise.features.sensors import AGGREGATES, SensorRows, SeriesFeatures, SeriesReader, step_numbers
from framewise.labeling_config import SeriesSettings
from framewise.media.library import MediaFile


def steps(native, *channels, rate):
    times = SeriesTimes(np.array(native, dtype=float))
    values = np.array(channels, dtype=np.float32).T
    return step_numbers(times, values, rate, times.num_frames(rate))


def test_aggregates_of_the_samples_in_each_step():
    """Values 1 to 8: median 4.5, quartiles 2.75 and 6.25, so a deviation is 3.5 / 1.349."""
    numbers = steps(np.arange(8) / 4, range(1, 9), rate=1.0)
    normal = (np.arange(1, 9) - 4.5) / (3.5 / 1.349)
    first = normal[:4]
    assert numbers.shape == (2, AGGREGATES + 1)
    expected = [first.mean(), first.std(), first.min(), first.max(), np.sqrt((first**2).mean()), 1]
    assert numbers[0] == pytest.approx(expected, abs=1e-6)


def test_a_slower_sensor_is_drawn_as_a_line():
    """One sample a second, four steps a second."""
    numbers = steps([0, 1, 2], [0, 1, 2], rate=4.0)
    assert np.diff(numbers[:, 0]) == pytest.approx([numbers[1, 0] - numbers[0, 0]] * 8, abs=1e-6)
    assert numbers[:, -1].tolist() == [1] * 9


def test_a_gap_is_masked():
    """Ten samples a second, none from 1 s to 3 s; the second channel has none in the first half second."""
    native = [k / 10 for k in range(40) if not 10 < k < 30]
    late = [np.nan if t < 0.5 else t for t in native]
    numbers = steps(native, native, late, rate=10.0)
    gap, late = numbers[11:30], numbers[:5]
    assert (gap == 0).all()
    assert numbers[10, -2] == numbers[30, -2] == 1
    assert (late[:, AGGREGATES : 2 * AGGREGATES] == 0).all()
    assert late[:, -2:].tolist() == [[1, 0]] * 5


def test_a_channel_that_has_a_value_now_and_then_is_slower_and_has_no_gaps():
    slow = [k if k % 10 == 0 else np.nan for k in range(101)]
    numbers = steps(np.arange(101) / 100, np.arange(101), slow, rate=25.0)
    assert numbers[:, -1].tolist() == [1] * len(numbers)


@pytest.mark.parametrize("values", [[0.0] * 50, [0.0] * 49 + [1e30], [1e-30] * 25 + [2e-30] * 25, [3e38] * 25 + [-3e38] * 25])
def test_numbers_stay_moderate_whatever_a_sensor_says(values):
    numbers = steps(np.arange(50) / 10, values, rate=10.0)
    assert np.isfinite(numbers).all()
    assert np.abs(numbers).max() <= 10


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
    rows = SensorRows(np.ones((7, 6), np.float32), rate=1 / 3600)
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
