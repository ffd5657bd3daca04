"""Numbers of a step of a series, worked by hand; series that are unlike the others of a project; and the cache."""

import time
import tracemalloc

import numpy as np
import pytest

from framewise.core.errors import MediaError
from framewise.core.metrics import frame_f1
from framewise.core.series_time import SeriesTimes
from framewise.core.time_format import TimeFormat
from framewise.features.cache import FeatureCache
from framewise.features.sensor_numbers import (
    AGGREGATES,
    BANDS_HZ,
    MIN_RATE,
    columns_of_groups,
    known_pieces,
    number_counts,
    number_groups,
)
from framewise.features.sensors import SeriesFeatures, SeriesProfile, SeriesReader, series_key
from framewise.labeling_config import SeriesSettings
from framewise.learning.auto import learn_quickly
from framewise.learning.tracks import MOTION_SIZE, Basis, LabelledVideo
from framewise.media.library import MediaFile


def series(native, *channels):
    return SeriesFeatures(SeriesTimes(np.array(native, dtype=float)), np.array(channels, dtype=np.float32).T)


def numbers_of(rows):
    return rows.read(np.arange(len(rows)))[0]


def steps(native, *channels, rate):
    return numbers_of(series(native, *channels).rows(rate))


def levels(channels):
    return columns_of_groups(channels)["levels"]


def together(channels):
    return columns_of_groups(channels)["motion of all channels"]


def test_level_and_spread_of_the_samples_in_each_step():
    """Values 1 to 8, whose median is 4.5, four a second: a spread is of a second around the middle of a step."""
    numbers = steps(np.arange(8) / 4, range(1, 9), rate=1.0)
    assert numbers.shape == (2, AGGREGATES + 1 + len(BANDS_HZ)) == (2, len(number_counts(1)))
    assert numbers[:, 0] == pytest.approx([np.mean([1, 2, 3, 4]) - 4.5, np.mean([5, 6, 7, 8]) - 4.5])
    assert numbers[:, AGGREGATES] == pytest.approx(np.abs(numbers[:, 0]))
    # A learner's second is ten steps: the window covers the whole series.
    assert numbers[:, 1] == pytest.approx([np.std(range(1, 9), ddof=1)] * 2, rel=1e-6)


def test_a_slower_sensor_is_drawn_as_a_line():
    """One sample a second, ten steps a second: too few for a spread and for bands."""
    numbers = steps([0, 1, 2, 3], [0, 1, 2, 3], rate=10.0)
    assert np.diff(numbers[:, 0]) == pytest.approx([0.1] * 30, abs=1e-6)
    assert np.isfinite(numbers[:, [0, AGGREGATES]]).all()
    assert np.isnan(np.delete(numbers, [0, AGGREGATES], axis=1)).all()


def test_a_gap_is_not_known():
    """Ten samples a second, none from 1 s to 3 s; the second channel has none in the first half second."""
    native = [k / 10 for k in range(60) if not 10 < k < 30]
    late = [np.nan if t < 0.5 else t for t in native]
    rows = series(native, native, late).rows(10.0)
    numbers = numbers_of(rows)
    fast = together(2).stop - 2  # bands of more than the samples show
    known = np.delete(numbers, [fast, fast + 1, *range(-2, 0), *range(-8, -6)], axis=1)
    assert rows.pieces == [(0, 60)]
    assert np.isnan(numbers[11:30]).all()
    assert np.isfinite(known[[10, 30]]).all()
    assert np.isnan(numbers[:5, AGGREGATES : 2 * AGGREGATES]).all()
    assert np.isfinite(numbers[:5, together(2)][:, :-2]).all()


def test_a_channel_that_has_a_value_now_and_then_is_slower_and_has_no_gaps():
    slow = [k if k % 10 == 0 else np.nan for k in range(101)]
    assert np.isfinite(steps(np.arange(101) / 100, np.arange(101), slow, rate=25.0)[:, levels(2)]).all()


def test_what_is_of_all_channels_is_the_same_however_a_sensor_is_worn():
    random = np.random.default_rng(1)
    channels = np.cumsum(random.normal(0, 1, (3, 500)), axis=1)
    channels -= np.median(channels, axis=1, keepdims=True)
    turned = np.linalg.qr(random.normal(0, 1, (3, 3)))[0] @ channels
    one, other = (steps(np.arange(500) / 50, *values, rate=25.0) for values in (channels, turned))
    bands = slice(together(3).start + 1, together(3).stop)
    np.testing.assert_allclose(one[:, bands], other[:, bands], rtol=1e-4, atol=1e-4)
    assert np.abs(one[:, levels(3)] - other[:, levels(3)]).max() > 1


@pytest.mark.parametrize(("hz", "band"), [(0.7, 0), (1.4, 1), (2.8, 2), (5.6, 3), (11.3, 4), (22.0, 5)])
@pytest.mark.parametrize("second", [1.0, 3600.0])
def test_what_swings_is_in_its_band_while_it_swings(hz, band, second):
    """In the middle third. A slow series, of a sample a minute, has bands that are as many times slower."""
    moments = np.arange(0, 60, 1 / 60)
    values = 9 * np.sin(2 * np.pi * hz * moments) * ((moments >= 20) & (moments < 40))
    rate = 30.0 if second == 1 else MIN_RATE / second
    swings = steps(moments * second, values, rate=rate)[:, -len(BANDS_HZ) :]
    steps_a_second = rate * second
    inside = swings[round(24 * steps_a_second) : round(36 * steps_a_second)]
    outside = swings[: round(15 * steps_a_second)]
    assert (inside.argmax(axis=1) == band).all()
    assert inside[:, band] == pytest.approx(np.sqrt(9 / np.sqrt(2)), rel=0.2)
    assert outside.max() < 0.35


def test_bands_that_are_faster_than_the_samples_are_not_known():
    values = np.random.default_rng(2).normal(0, 1, 200)
    numbers = steps(np.arange(200) / 10, values, rate=10.0)
    assert np.isnan(numbers[:, -2:]).all()
    assert (numbers[:, -len(BANDS_HZ) : -2] > 0).all()


# Series that are unlike the project's others.


def moves(seed, rate=100.0, seconds=60.0):
    """Moments, an accelerometer's three channels, and which of two movements is made: one slow and wide, one faster."""
    random = np.random.default_rng(seed)
    moments = np.arange(round(seconds * rate)) / rate
    truth = np.zeros((len(moments), 2), np.uint8)
    values = np.zeros((len(moments), 3)) + [0, 1, 9.8]
    tempo, at = random.uniform(0.9, 1.1), 2.0
    while at < seconds - 6:
        label, until = int(random.integers(2)), at + float(random.uniform(2, 4))
        inside = (moments >= at) & (moments < until)
        hz, size = ((1.2, 1.0), (2.2, 1.5))[label]
        swing = 2 * np.pi * hz * tempo * moments[inside]
        values[inside] += size * np.stack([np.sin(swing), 0.5 * np.cos(swing), 0.7 * np.sin(swing + 1)], axis=1)
        truth[inside, label] = 1
        at = until + float(random.uniform(1, 3))
    return moments, values + random.normal(0, 0.15, values.shape), truth


def every(number, recording):
    return tuple(part[::number] for part in recording)


def read_of(recording):
    return series(recording[0], *recording[1].T)


def on_steps(found, truth, rate):
    marked = np.zeros((found.num_steps(rate), truth.shape[1]), np.uint8)
    np.maximum.at(marked, found.times.frames(rate) - 1, truth)
    return marked


@pytest.fixture(scope="module")
def learned():
    """A learner of two recordings of 50 samples a second, and what is usual in them."""
    recordings = [every(2, moves(seed)) for seed in (1, 2)]
    found = [read_of(recording) for recording in recordings]
    profile = SeriesProfile.of(found)
    grid = profile.grid
    videos = [
        LabelledVideo(
            f.rows(grid.rate, sample_rate=grid.sample_rate), y := on_steps(f, r[2], grid.rate), np.ones(y.shape, bool), n
        )
        for n, (f, r) in enumerate(zip(found, recordings, strict=True))
    ]
    return learn_quickly(videos, ["slow", "fast"], None), profile


def f1(learned, recording):
    classifier, profile = learned
    found = read_of(recording)
    scores = classifier.predict(found.rows(profile.grid.rate, sample_rate=profile.grid.sample_rate))
    true = recording[2].astype(bool)
    return float(frame_f1(true, scores[found.times.frames(profile.grid.rate) - 1] >= 0.5)[true.any(axis=0)].mean())


@pytest.mark.parametrize("number", [8, 4, 3, 1])
def test_a_series_of_another_sampling_rate_is_predicted_as_well(learned, number):
    """A quarter, a half, two thirds and twice the rate of those that were learned from."""
    new = moves(7)
    assert f1(learned, every(2, new)) > 0.9
    assert f1(learned, every(number, new)) > f1(learned, every(2, new)) - 0.03


def test_where_a_channel_has_its_zero_does_not_matter(learned):
    moments, values, truth = every(2, moves(7))
    shifted = values + 3 * values.std(axis=0) * [1, 0, -1]
    assert f1(learned, (moments, shifted, truth)) == pytest.approx(f1(learned, (moments, values, truth)), abs=0.01)


@pytest.mark.parametrize("instead", [np.nan, 0.0, 9.8])
def test_a_series_without_one_channel_is_predicted_by_the_others(learned, instead):
    moments, values, truth = every(2, moves(7))
    values[:, 1] = instead
    found = read_of((moments, values, truth))
    assert found.measured.tolist() == [True, False, True]
    assert np.isnan(numbers_of(found.rows(25.0))[:, AGGREGATES : 2 * AGGREGATES]).all()
    assert f1(learned, (moments, values, truth)) > 0.85


def test_what_is_of_all_channels_counts_a_missing_one_as_the_others():
    random = np.random.default_rng(4)
    x, y = random.normal(0, 1, (2, 500))
    whole, part = steps(np.arange(500) / 50, x, x, rate=25.0), steps(np.arange(500) / 50, x, np.full(500, np.nan), rate=25.0)
    np.testing.assert_allclose(part[:, together(2)], whole[:, together(2)], rtol=1e-5)


def test_a_recording_in_which_nothing_ever_changes_is_measured():
    assert series(np.arange(50) / 10, [0.0] * 50, [1.0] * 50).measured.all()


def test_the_profile_of_series_that_differ_is_that_of_the_middle_one():
    moments = np.arange(1000)
    found = [series(moments / rate, moments * size, np.full(1000, np.nan)) for rate, size in ((50, 1), (100, 3), (25, 100))]
    profile = SeriesProfile.of(found)
    assert (profile.grid.rate, profile.grid.sample_rate) == pytest.approx((25, 50))
    assert profile.spreads == (pytest.approx(0.8 * 999 * 3), None)
    assert SeriesProfile.from_json(profile.to_json()) == profile


# Pauses.


@pytest.mark.parametrize("pause", [10.0, 86400.0])
def test_a_pause_parts_a_series_and_costs_nothing(pause):
    """The same recording twice, with a pause between: its numbers twice, whatever the pause is."""
    moments, values, _ = every(2, moves(3, seconds=40))
    alone = read_of((moments, values, None)).rows(25.0)
    twice = series(np.concatenate([moments, moments + 40 + pause]), *np.tile(values, (2, 1)).T)
    tracemalloc.start()
    rows = twice.rows(25.0)
    second = round((40 + pause) * 25)
    assert len(rows) == second + 1000
    assert rows.pieces == [(0, 1000), (second, second + 1000)]
    first, again, own = rows.read(np.arange(1000))[0], rows.read(np.arange(second, second + 1000))[0], numbers_of(alone)
    np.testing.assert_allclose(first, own[:1000], rtol=1e-5)
    np.testing.assert_allclose(again, own[:1000], rtol=1e-3, atol=1e-3)
    assert np.isnan(rows.read(np.array([1000, 1100, second - 1]))[0]).all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_gaps_up_to_a_length_stay_within_a_piece():
    assert known_pieces([(30, 40), (0, 10), (12, 15), (5, 8)], 15) == [(0, 40)]
    assert known_pieces([(30, 40), (0, 10), (12, 15), (5, 8)], 14) == [(0, 15), (30, 40)]
    assert known_pieces([], 14) == []


def test_a_slow_series_is_parted_by_longer_pauses():
    """One sample a minute: a second of the learner is ten minutes."""
    minutes = np.array([k for k in range(400) if not 100 < k < 120 and not 200 < k < 240])
    rows = series(minutes * 60.0, minutes).rows(1 / 60)
    assert rows.pieces == [(0, 201), (240, 400)]


@pytest.mark.parametrize("values", [[0.0] * 50, [0.0] * 49 + [1e30], [1e-30] * 25 + [2e-30] * 25, [3e38] * 25 + [-3e38] * 25])
def test_what_is_learned_from_stays_moderate_whatever_a_sensor_says(values):
    series = SeriesFeatures(SeriesTimes(np.arange(50) / 10), np.array(values, np.float32)[:, np.newaxis])
    rows = series.rows(10.0)
    components, _ = Basis.fit([rows]).apply(rows)
    assert components.isfinite().all()
    assert (components.abs() <= 10 * np.sqrt(len(number_counts(1)))).all()


def test_one_spike_does_not_make_all_else_the_same():
    """Off or on, and once a number that no sensor gives: on and off are as far apart as without it. Off is the usual state."""
    random = np.random.default_rng(3)
    values = np.repeat(random.random(100) < 0.3, 50) + random.normal(0, 0.05, 5000)

    def apart(samples):
        rows = SeriesFeatures(SeriesTimes(np.arange(5000) / 50), samples.astype(np.float32)[:, np.newaxis]).rows(25.0)
        components = Basis.fit([rows]).apply(rows)[0]
        on = values.reshape(-1, 2).mean(axis=1) > 0.5
        return float((components[on].mean(0) - components[~on].mean(0)).norm())

    spiked = values.copy()
    spiked[1234] = 1e6
    assert apart(spiked) == pytest.approx(apart(values), rel=0.3)


def timed(native, format=None):
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
    assert timed(native, format).own_rate() == pytest.approx(rate, rel=1e-3)


def test_a_series_of_too_many_steps_is_refused():
    with pytest.raises(
        MediaError, match="100000000 s with 25 steps a second has more than 10000000 of them; cut it into parts"
    ):
        timed([0, 0.02, 0.04, 0.06, 1e8]).rows(25.0)
    with pytest.raises(MediaError, match="40000 s with 30 steps a second has more than 1000000 of them"):
        timed(np.arange(400_001) / 10).rows(30.0)


def test_rows_have_no_motion_and_a_rate_that_the_learner_can_work_with():
    rows = series(np.arange(7) * 3600.0, np.arange(7), np.arange(7)).rows(1 / 3600)
    read, motion = rows.read(np.array([2, 5]))
    assert (len(rows), rows.frame_rate, read.shape) == (7, 10.0, (2, len(rows.counts)))
    assert read[:, 0].tolist() == [-1, 2]
    assert motion is None
    track = Basis.fit([rows]).unlabelled(rows, 1)
    assert (track.motion.shape, track.motion.any()) == ((7, MOTION_SIZE), False)


def test_parts_are_all_numbers_and_those_of_each_channel_come_last():
    parts = series(np.arange(50) / 10, range(50), range(50)).rows(10.0).groups
    assert [name for name, *_ in parts] == ["levels", "motion of all channels", "bands of each channel"]
    assert [part.start for _, part, _ in parts] == [0, *(part.stop for _, part, _ in parts[:-1])]
    assert parts[-1][1].stop == len(number_counts(2))
    assert (number_counts(2)[parts[-1][1]] == 0).all()
    assert [name for name, *_ in number_groups(1)] == ["levels", "motion of all channels"]


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
    np.testing.assert_array_equal(numbers_of(again.rows(1.0)), numbers_of(first))
    assert reader.cached("c" * 64, SeriesSettings("time", "", False, ",", False, ("y",))) is None
    assert not list((tmp_path / "cache").rglob("*.pkl"))


def test_what_an_earlier_version_cached_is_used_but_for_what_may_have_been_words(tmp_path):
    cache, native = FeatureCache(tmp_path / "cache"), np.arange(3.0)
    for content, values in (("c" * 64, [1, 2, 4]), ("d" * 64, [0, 1, 1])):
        for part, array in enumerate((native, np.array(values, np.float32)[:, None])):
            cache.chunk((content, "time series", series_key(SETTINGS)), part, lambda array=array: array)
    assert SeriesReader(cache).cached("c" * 64, SETTINGS).ranges.tolist() == [[1, 4]]
    assert SeriesReader(cache).cached("d" * 64, SETTINGS) is None


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,x\n0,1\n1,2\n")
    reader = SeriesReader(FeatureCache(tmp_path / "cache"))
    with pytest.raises(MediaError, match="changed while it was read"):
        reader.read(MediaFile(path, "c" * 64, stamp=f"another one at {time.time()}"), SETTINGS)
    assert reader.cached("c" * 64, SETTINGS) is None
