"""Pads and trims against the formulas and examples that they come from, worked by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewise.core.errors import RequestError
from framewise.sync.apply import MODES
from framewise.sync.apply.timeline import Span, head_of, interval, plan, samples_of
from framewise.sync.manifest import on_other_clock

RATES = st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60), Fraction(120)])
OFFSETS = st.floats(-50, 50)
SPANS = st.lists(st.builds(Span, OFFSETS, st.floats(0.5, 100)), min_size=1, max_size=6)


def test_the_worked_example_of_a_union() -> None:
    """{cam1: 0, cam2: -1.234, cam3: +0.567}: pads of 1.234, 0 and 1.801 s; with 10 s each, 11.801 s in all."""
    spans = [Span(0, 10), Span(-1.234, 10), Span(0.567, 10)]

    done = plan(spans, "union", Fraction(30000, 1001))

    assert [head.seconds for head in done.heads] == pytest.approx([1.234, 0, 1.801])
    assert [head.frames for head in done.heads] == [37, 0, 54]  # 1.234 * 29.97 = 36.98, 1.801 * 29.97 = 53.976
    assert done.seconds == pytest.approx(11.801)
    assert done.frames == 54 + 300  # 299.7 frames of picture, the last one whole
    # 37 frames are 1.2345667 s, 54 are 1.8018 s.
    assert [head.residual_seconds for head in done.heads] == pytest.approx([-0.0005667, 0, -0.0008], abs=1e-6)
    assert [head.samples(Fraction(30000, 1001), 48000) for head in done.heads] == [59259, 0, 86486]


def test_the_worked_example_of_an_intersection() -> None:
    """Trims of max o - o_i: 0.567, 1.801 and 0 s; from 0.567 to min(o + D) = 8.766 s."""
    done = plan([Span(0, 10), Span(-1.234, 10), Span(0.567, 10)], "intersection", Fraction(25))

    assert [head.seconds for head in done.heads] == pytest.approx([-0.567, -1.801, 0])
    assert done.seconds == pytest.approx(8.199)
    assert [head.frames for head in done.heads] == [-14, -45, 0]
    assert done.frames == 250 - 45


def test_recordings_that_share_nothing_have_no_intersection() -> None:
    with pytest.raises(RequestError, match=r"one ends 2.000 s before another starts; use --mode union"):
        interval([Span(0, 3), Span(5, 3)], "intersection")


def test_a_sixtieth_is_rounded_to_a_frame_and_less_to_none() -> None:
    rate = Fraction(30000, 1001)  # 0.016 s is 0.4795 frames, 0.017 s is 0.5095

    assert [head_of(seconds, rate).frames for seconds in (0.016, 0.017, -0.016, -0.017)] == [0, 1, 0, -1]


@given(SPANS, RATES)
def test_a_union_pads_and_loses_nothing(spans: list[Span], rate: Fraction) -> None:
    done = plan(spans, "union", rate)

    first = min(span.start_seconds for span in spans)
    assert min(head.frames for head in done.heads) == 0
    for head, span in zip(done.heads, spans, strict=True):
        assert head.seconds == span.start_seconds - first >= 0
        assert head.frames + span.length_seconds * rate <= done.frames + 1e-5
    longest = max(head.seconds + span.length_seconds for head, span in zip(done.heads, spans, strict=True))
    assert done.seconds == pytest.approx(longest)
    assert abs(done.frames - longest * float(rate)) < 1.5 + 1e-5


@given(SPANS, RATES)
def test_an_intersection_trims_to_what_all_have(spans: list[Span], rate: Fraction) -> None:
    start = max(span.start_seconds for span in spans)
    stop = min(span.start_seconds + span.length_seconds for span in spans)
    if (stop - start) * rate < 2:
        return

    done = plan(spans, "intersection", rate)

    for head, span in zip(done.heads, spans, strict=True):
        assert head.seconds == span.start_seconds - start <= 0
        assert done.frames <= head.frames + span.length_seconds * rate + 1e-5
    assert abs(done.frames - (stop - start) * float(rate)) < 1.5 + 1e-5


@given(SPANS, RATES, st.data())
def test_the_reference_stays_as_it_is(spans: list[Span], rate: Fraction, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(spans) - 1))

    done = plan(spans, "reference", rate, number)

    assert (done.heads[number].frames, done.heads[number].residual_seconds) == (0, 0)
    assert abs(done.frames - spans[number].length_seconds * rate) <= 0.5


@given(SPANS, RATES, st.sampled_from(MODES))
def test_residuals_are_at_most_half_a_frame_and_sound_stays_with_the_picture(
    spans: list[Span], rate: Fraction, mode: str
) -> None:
    try:
        done = plan(spans, mode, rate)
    except RequestError:
        return
    for head in done.heads:
        assert abs(head.residual_seconds) <= 0.5 / rate + 1e-9
        assert head.seconds == pytest.approx(float(head.frames / rate) + head.residual_seconds)
        assert abs(Fraction(head.samples(rate, 48000), 48000) - head.frames / rate) <= Fraction(1, 96000)


@given(OFFSETS, OFFSETS, st.floats(0, 3600), st.floats(-300, 300), st.floats(-300, 300))
def test_the_way_to_another_recording_and_back_is_the_identity(a: float, b: float, t: float, p: float, q: float) -> None:
    rate_a, rate_b = 1 + p * 1e-6, 1 + q * 1e-6

    there = on_other_clock(t, rate_a, a, rate_b, b)

    assert on_other_clock(there, rate_b, b, rate_a, a) == pytest.approx(t, abs=1e-8)
    assert on_other_clock(t, 1, a, 1, b) == pytest.approx(t + a - b)  # t_j = t_i + o_i - o_j
    assert on_other_clock(t, rate_a, a, 1, 0) == pytest.approx(rate_a * t + a)  # t_ref


def test_samples_are_rounded_once_and_not_for_each_frame() -> None:
    # A frame of 29.97 a second lasts 1601.6 samples of 48 kHz; 30000 of them last 1001 s.
    assert [samples_of(n, Fraction(30000, 1001), 48000) for n in (0, 1, 2, 5, 30000)] == [0, 1602, 3203, 8008, 48_048_000]
    assert samples_of(-1, Fraction(30000, 1001), 48000) == -1602
