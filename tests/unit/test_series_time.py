"""Times of a series as Label Studio writes and reads them, and samples as frames."""

import datetime
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from framewise.core.errors import ConfigError, RegionError
from framewise.core.series_time import SeriesTimes
from framewise.core.time_format import TimeFormat

ours = settings(max_examples=150, deadline=None, derandomize=True, database=None)

# Written by d3-time-format 4.1.0: d3.utcFormat(text)(new Date(1709596805043)). A Tuesday; UTC.
MOMENT = 1709596805043.0
WRITTEN_BY_D3 = {
    "%Y-%m-%d %H:%M:%S.%L": "2024-03-05 00:00:05.043",
    "%Y-%m-%dT%H:%M:%S.%LZ": "2024-03-05T00:00:05.043Z",
    "%m/%d/%Y %I:%M:%S.%f %p": "03/05/2024 12:00:05.043000 AM",
    "%e %b %y %H:%M:%S.%L": " 5 Mar 24 00:00:05.043",
    "%A, %-d. %B %Y %_H:%M:%S.%L": "Tuesday, 5. March 2024  0:00:05.043",
    "%a %j/%Y %H:%M:%S.%L%%": "Tue 065/2024 00:00:05.043%",
    "%Q": "1709596805043",
    "%Y-%m-%d %H:%M:%S.%L %Z": "2024-03-05 00:00:05.043 +0000",
    "%s.%L": "1709596805.043",
}
FRAME_RATES = [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(50)]
FRAME_RATES += [Fraction(60000, 1001), Fraction(60), Fraction(120), Fraction(240)]


@pytest.mark.parametrize(("text", "written"), WRITTEN_BY_D3.items())
def test_a_moment_is_written_and_read_as_d3_does(text, written):
    format = TimeFormat(text)
    assert format.format(MOMENT) == written
    assert format.parse([written]).tolist() == [MOMENT]


@ours
@given(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)))
def test_times_are_read_as_python_reads_them(moment):
    ours = TimeFormat("%d.%m.%Y %I:%M:%S.%f %p").parse([moment.strftime("%d.%m.%Y %I:%M:%S.%f %p")])[0]
    exact = (moment - datetime.datetime(1970, 1, 1)) / datetime.timedelta(milliseconds=1)
    assert ours == math.floor(exact)


@pytest.mark.parametrize(
    ("format", "text", "milliseconds"),
    [
        ("%H:%M:%S.%L", "00:00:01.5", -2208988800000 + 1500),  # in 1900; fewer digits of a fraction are padded
        ("%H:%M:%S.%f", "00:00:01.123456", -2208988800000 + 1123),
        ("%Y-%m-%d", "2023-02-31", 1677801600000),  # JavaScript: the 3rd of March
        ("%Y-%m-%d %H:%M%Z", "2024-01-01 01:30+01:30", 1704067200000),
        ("%y", "68", 3092601600000),
        ("%y", "69", -31536000000),
    ],
)
def test_what_d3_and_label_studio_do_at_the_edges(format, text, milliseconds):
    assert TimeFormat(format).parse([text]).tolist() == [milliseconds]


@pytest.mark.parametrize("text", ["", "2024-03-05", "2024-03-05 00:00:05.043 ", "2024-03-05t00:00:05.043", "9" * 9000])
def test_what_is_not_in_the_format_is_no_time(text):
    assert np.isnan(TimeFormat("%Y-%m-%dT%H:%M:%S.%L").parse([text])).all()
    assert np.isnan(TimeFormat("%Q").parse(["9" * 9000, "9" * 17])).all()


@pytest.mark.parametrize("text", ["%Y-%W", "%x", "%", "%-", "seconds", "", "%Y %Y"])
def test_a_format_that_is_not_read_here_is_refused(text):
    with pytest.raises(ConfigError, match="timeFormat"):
        TimeFormat(text)


def test_an_unknown_directive_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'%Y %G'.*%G is not supported; supported are %Y %y"):
        TimeFormat("%Y %G")


def series(native, format=None, **more):
    return SeriesTimes(np.array(native, dtype=float), 1000.0 if format else 1.0, TimeFormat(format) if format else None, **more)


def test_frames_become_the_samples_inside_them_worked_by_hand():
    """10 samples a second from 5.0 s on, 4 frames a second: frame 2 is [0.25, 0.5) and holds the samples at 0.3 and 0.4."""
    times = series([5.0 + k / 10 for k in range(20)])
    assert times.seconds[:3] == pytest.approx([0, 0.1, 0.2])
    assert times.samples_in(2, 2, 4.0) == (3, 4)
    assert times.samples_in(1, 8, 4.0) == (0, 19)
    assert [times.frame_of(times.read(value), 4.0) for value in (5.3, "5.4", 5.5, 5)] == [2, 2, 3, 1]
    assert times.written(3) == 5.3
    assert times.written(0) == 5
    assert times.num_frames(4.0) == 8


def test_a_frame_without_a_sample_is_no_region():
    times = series([0, 1, 2, 3])  # once a second
    assert times.samples_in(2, 25, 25.0) is None
    assert times.samples_in(2, 26, 25.0) == (1, 1)
    assert times.samples_in(200, 300, 25.0) is None


def test_without_a_time_column_a_row_is_a_second():
    times = series(range(10), whole=True)
    assert (times.seconds[9], times.written(9), type(times.written(9))) == (9.0, 9, int)


def test_a_date_is_written_in_its_format():
    times = series([1709596805043.0, 1709596806043.0], "%H:%M:%S.%L")
    assert times.written(1) == "00:00:06.043"
    assert times.seconds.tolist() == [0, 1]


@pytest.mark.parametrize("value", ["soon", None, True, math.nan, math.inf, [1], 10**400, "1e999"])
def test_a_region_without_a_time_is_refused(value):
    with pytest.raises(RegionError, match=r"expected .*, found .*; was timeFormat changed"):
        series([0, 1]).read(value)
    with pytest.raises(RegionError, match="expected text in the format '%H:%M', found"):
        series([0, 1], "%H:%M").read(value)


@ours
@given(
    st.sampled_from(FRAME_RATES),
    st.integers(1, 8),
    st.floats(0, 2e9),
    st.sampled_from(["%L", "%f cut", "numbers", "three decimals", "three decimals, cut"]),
    st.data(),
)
def test_frames_to_series_to_frames_is_the_identity(frame_rate, samples, offset, written, data):
    """Every frame has so many samples, the first on its edge; their times are written as files write them."""
    rate, exact = float(frame_rate), [Fraction(offset) + Fraction(k, 1) / (frame_rate * samples) for k in range(40 * samples)]
    if written == "numbers":
        times = series([float(t) for t in exact])
    elif written.startswith("three"):
        cut = math.floor if "cut" in written else round
        times = series([cut(t * 1000) / 1000 for t in exact])
    else:
        cut = math.floor if "cut" in written else round
        times = series([cut(t * 1000) for t in exact], "%Y-%m-%d %H:%M:%S.%L")
    assert times.resolves(rate)
    start = data.draw(st.integers(1, 39))
    end = data.draw(st.integers(start, 39))

    first, last = times.samples_in(start, end, rate)
    back = [times.frame_of(times.read(times.written(index)), rate) for index in (first, last)]

    assert back == [start, end]


@ours
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), st.sampled_from(FRAME_RATES), st.data())
def test_a_region_moves_by_less_than_a_sample_period(steps, frame_rate, data):
    """Samples at any milliseconds: the region's samples are the outermost ones inside its frames, by exact arithmetic."""
    exact = [Fraction(ms, 1000) for ms in np.cumsum([0, *steps]).tolist()]
    times, rate = series([float(t) for t in exact]), float(frame_rate)
    slack = Fraction(times.slack_seconds)
    edge = Fraction(1, 10**9)  # where float64 and exact arithmetic may differ
    assume(all((t + slack) * frame_rate % 1 > edge for t in exact))
    start = data.draw(st.integers(1, times.num_frames(rate)))
    end = data.draw(st.integers(start, times.num_frames(rate)))
    inside = [k for k, t in enumerate(exact) if Fraction(start - 1) <= (t + slack) * frame_rate < end]

    found = times.samples_in(start, end, rate)

    assert found == ((inside[0], inside[-1]) if inside else None)
    if found and found[0] > 0:
        assert (start - 1) / frame_rate <= exact[found[0]] + slack < (start - 1) / frame_rate + slack + max(steps)
        assert exact[found[0] - 1] + slack < Fraction(start - 1) / frame_rate


@ours
@given(st.integers(1, 400), st.integers(2, 50))
def test_a_coarse_format_does_not_resolve_frames(samples, rate):
    times = series([1000.0 * (k // rate) for k in range(samples)], "%H:%M:%S")
    assert not times.resolves(float(rate))
    assert times.frames(float(rate))[0] == 1
