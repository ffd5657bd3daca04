"""Estimators of offsets, on signals whose truth is known because it was made."""

import numpy as np
import pytest

from framewise.sync.offsets.combine import Answer, merged
from framewise.sync.offsets.confidence import audio_confidence, together, visual_confidence
from framewise.sync.offsets.correlate import Agreement, correlate
from framewise.sync.offsets.lines import robust_line
from framewise.sync.offsets.network import Link, solve
from framewise.sync.offsets.phat import match_audio
from framewise.sync.offsets.signals import Signal
from framewise.sync.offsets.sound import SAMPLE_RATE, Sound, analyse
from tools.sync_material import BASE_RATE, make


def clicks(rng: np.random.Generator, seconds: float) -> np.ndarray:
    return make("impulsive", rng, seconds)


def heard(sound: np.ndarray, offset: float, seconds: float, drift: float = 0.0, noise: float = 0.0, seed: int = 0) -> Sound:
    """A microphone that starts ``offset`` seconds into a sound: t on its clock is (1 + drift) t + offset on the sound's."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    samples = np.interp(((1 + drift) * t + offset) * BASE_RATE, np.arange(len(sound)), sound)
    samples = samples + noise * np.random.default_rng(seed).normal(0, samples.std(), len(samples))
    return analyse((np.clip(samples, -1, 1) * 30000).astype(np.int16))


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return make("speech", np.random.default_rng(4), 40)


def test_a_recording_that_starts_later_has_a_positive_offset(sound):
    found, _ = match_audio(heard(sound, 2.0, 20), heard(sound, 5.25, 20), 20)

    assert found is not None
    assert found.offset == pytest.approx(3.25, abs=1e-4)
    assert audio_confidence(found) > 0.8


def test_offset_and_drift_in_noise_as_loud_as_the_sound(sound):
    found, _ = match_audio(
        heard(sound, 9.0, 30, noise=1.0, seed=1), heard(sound, 3.5003, 30, drift=145e-6, noise=1.0, seed=2), 20
    )

    assert found is not None
    assert found.offset == pytest.approx(-5.4997, abs=1e-3)
    assert found.drift * 1e6 == pytest.approx(145, abs=5)
    assert audio_confidence(found) > 0.5


def test_what_overlaps_only_at_the_ends_is_found(sound):
    found, _ = match_audio(heard(sound, 0.0, 22), heard(sound, 12.0, 25), 20)

    assert found is not None
    assert found.offset == pytest.approx(12.0, abs=1e-4)
    assert found.overlap_seconds == pytest.approx(10.0, abs=0.1)


def test_an_offset_beyond_the_range_is_seen_there_and_not_inside(sound):
    inside, outside = match_audio(heard(sound, 0.0, 20), heard(sound, 9.0, 20), 5.0)

    assert outside is not None
    assert outside.offset == pytest.approx(9.0, abs=1e-3)
    assert inside is None or audio_confidence(inside) < 0.2


@pytest.mark.parametrize("kind", ["speech", "music", "impulsive"])
def test_sounds_of_two_scenes_have_no_confidence(kind):
    one, two = (make(kind, np.random.default_rng(seed), 20) for seed in (1, 2))

    found, _ = match_audio(heard(one, 0.0, 18), heard(two, 0.0, 18), 20)

    assert found is None or audio_confidence(found) < 0.2


def test_a_sound_that_repeats_tells_all_offsets_that_fit():
    click = make("impulsive", np.random.default_rng(3), 1.0)
    every_second = np.tile(click, 20)

    found, _ = match_audio(heard(every_second, 0.0, 12), heard(every_second, 0.4, 12), 3.0)

    assert found is not None
    assert found.rivals
    assert {round(value - 0.4, 2) % 1 for value in (found.offset, *found.rivals)} == {0.0}


def test_silence_is_told_from_sound(sound):
    assert analyse(np.zeros(SAMPLE_RATE * 3, np.int16)).silent
    assert not heard(sound, 0.0, 3).silent


def test_steady_noise_has_no_loudness_that_changes(sound):
    noise = analyse((1000 * np.random.default_rng(0).normal(0, 1, 5 * SAMPLE_RATE)).astype(np.int16))

    assert noise.steadiness < 1.0 < heard(sound, 0.0, 10).steadiness


def test_a_line_leaves_outliers_and_gives_the_lag_at_the_beginning_of_the_clock():
    # lag(t) = 2 s + 100 ppm * t: at t = 1000 s it is 2.1 s.
    t = np.linspace(900, 1100, 21)
    lags = 2.0 + 100e-6 * t
    lags[[3, 11, 17]] = (7.0, -3.0, 2.5)

    line = robust_line(t, lags, np.ones(21), 1e-4)

    assert line.offset == pytest.approx(2.0, abs=1e-4)
    assert line.drift == pytest.approx(100e-6, rel=1e-3)
    assert line.inliers.sum() == 18


def happenings(seed: int, seconds: float, rate: float = 200.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bursts = np.repeat(rng.exponential(1.0, int(seconds * 4)), int(rate / 4))
    return np.convolve(bursts + rng.exponential(0.3, len(bursts)), np.hanning(31) / 15, "same")


def watched(values: np.ndarray, offset: float, seconds: float, rate: float, scale: float = 1.0, noise: float = 0.0) -> Signal:
    t = np.arange(0, seconds, 1 / rate)
    seen = np.interp((t + offset) * 200.0, np.arange(len(values)), values)
    rng = np.random.default_rng(int(1000 * offset))
    return Signal(t, scale * seen + noise * rng.normal(0, 1, len(t)))


def test_signals_of_two_rates_and_units_agree_where_they_should():
    values = happenings(0, 60)

    found = correlate(watched(values, 4.0, 30, 30, noise=0.2), watched(values, 10.51, 30, 100, scale=-0.0 + 9.8, noise=2.0), 20)

    assert isinstance(found, Agreement)
    assert found.offset == pytest.approx(6.51, abs=1 / 60)
    assert visual_confidence(found) > 0.5


def test_signals_of_other_happenings_have_little_confidence():
    sure = []
    for seed in range(1, 13):
        found = correlate(watched(happenings(seed, 30), 0, 25, 30), watched(happenings(100 + seed, 30), 0, 25, 30), 20)
        assert isinstance(found, Agreement)
        sure.append(visual_confidence(found))

    assert max(sure) < 0.2


def test_a_signal_with_a_gap_is_not_taken_for_zero():
    values = happenings(5, 60)
    whole, other = watched(values, 0.0, 40, 30), watched(values, 3.0, 40, 30)
    keep = (other.seconds < 10) | (other.seconds > 18)

    found = correlate(whole, Signal(other.seconds[keep], other.values[keep]), 10)

    assert isinstance(found, Agreement)
    assert found.offset == pytest.approx(3.0, abs=1 / 60)


def test_a_constant_signal_is_refused_in_words():
    flat = Signal(np.arange(100) / 10, np.ones(100))

    assert "does not change" in str(correlate(flat, watched(happenings(0, 20), 0, 10, 30), 5))


def test_signals_too_short_are_refused_in_words():
    values = happenings(0, 20)

    assert "must overlap" in str(correlate(watched(values, 0, 2, 30), watched(values, 0, 2, 30), 5))


def test_a_movement_that_repeats_has_rivals():
    t = np.arange(0, 40, 1 / 30)
    beat = Signal(t, (np.sin(2 * np.pi * t / 2) > 0.8).astype(float))

    found = correlate(beat, beat, 10)

    assert isinstance(found, Agreement)
    assert found.rivals or visual_confidence(found) < 0.2


def link(a: int, b: int, offset: float, confidence: float = 0.9, drift: float = 0.0) -> Link:
    return Link(a, b, offset, drift, confidence, 0.005)


def test_loops_close_with_drift_taken_into_account():
    # Clocks: recording 1 runs 300 ppm slow and started at 20 s, recording 2 at 50 s, so seen from 1: (50 - 20) / 1.0003.
    solution = solve([link(0, 1, 20.0, drift=3e-4), link(0, 2, 50.0), link(1, 2, 30 / 1.0003, drift=1 / 1.0003 - 1)])

    assert solution.offsets == pytest.approx({0: 0.0, 1: 20.0, 2: 50.0}, abs=1e-5)
    assert solution.loop_residual == pytest.approx(0.0, abs=1e-6)
    assert not solution.outsiders


def test_a_recording_without_a_link_to_the_reference_comes_by_way_of_another():
    solution = solve([link(0, 1, 1.0, 0.9), link(1, 2, -3.0, 0.6)])

    assert solution.offsets == pytest.approx({0: 0.0, 1: 1.0, 2: -2.0})
    assert solution.confidences[2] == 0.6


def test_one_link_that_contradicts_all_others_is_dropped():
    true = {0: 0.0, 1: 1.0, 2: 4.0, 3: -2.0}
    links = [link(a, b, true[b] - true[a] + (3.6 if (a, b) == (1, 3) else 0)) for a in true for b in true if a < b]

    solution = solve(links)

    assert [(k.a, k.b) for k in solution.wrong] == [(1, 3)]
    assert solution.offsets == pytest.approx(true, abs=1e-6)
    assert solution.loop_residual == pytest.approx(0.0, abs=1e-9)


def test_the_recording_that_contradicts_the_others_is_named():
    true = {0: 0.0, 1: 1.0, 2: 4.0, 3: -2.0}
    links = [link(a, b, true[b] - true[a]) for a in true for b in true if a < b and 2 not in (a, b)]
    links += [link(0, 2, 4.0), link(1, 2, 9.0), link(2, 3, 5.0)]

    solution = solve(links)

    assert set(solution.outsiders) == {2}
    assert solution.outsiders[2] > 3
    assert set(solution.offsets) == {0, 1, 3}


def test_of_three_that_contradict_each_other_the_least_sure_one_is_left_out():
    solution = solve([link(0, 1, 1.0, 0.9), link(0, 2, 4.0, 0.4), link(1, 2, -0.6, 0.4)])

    assert set(solution.outsiders) == {2}
    assert solution.offsets == pytest.approx({0: 0.0, 1: 1.0})


def test_two_methods_that_agree_are_surer_and_two_that_do_not_are_less_sure():
    sound, near, far = (Answer(x, 0.0, c, "", 0.005) for x, c in ((2.0, 0.7), (2.02, 0.6), (5.0, 0.6)))

    assert merged(sound, near, 0.2).confidence == pytest.approx(1 - 0.3 * 0.4)
    assert merged(sound, near, 0.2).offset == 2.0
    against = merged(sound, far, 0.2)
    assert against.confidence == pytest.approx(0.7 * 0.4)
    assert "sound says +2.000 s and pictures +5.000 s" in against.reason
    assert together(0.95, 0.95, agree=False) < 0.2
