"""From a label's scores to where it is on; expected values are worked by hand."""

import numpy as np
import pytest

from framewise.core.errors import ModelError
from framewise.learning.decisions import Decision, choose_decision, smoothed, supposed_decision

SECOND = 10.0  # rows


def on(*spans, length=100):
    rows = np.zeros(length)
    for start, stop in spans:
        rows[start:stop] = 1
    return rows


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.45, 0.5, 0.9])
def test_the_threshold_comes_to_one_half_and_the_ends_stay_where_they_are(threshold):
    decision = Decision(threshold, window_seconds=0)
    np.testing.assert_allclose(decision.apply(np.array([0, threshold, 1]), 25), [0, 0.5, 1])
    np.testing.assert_allclose(decision.apply(np.array([threshold / 2, (1 + threshold) / 2]), 25), [0.25, 0.75])


@pytest.mark.parametrize("threshold", [0.1, 0.45, 0.9])
def test_a_higher_score_stays_the_higher_one(threshold):
    folded = Decision(threshold, window_seconds=0).apply(np.linspace(0, 1, 1001), 25)
    assert (np.diff(folded) > 0).all()


def test_scores_outside_of_0_and_1_become_0_and_1():
    np.testing.assert_array_equal(Decision(0.45, 0).apply(np.array([-3.0, 7.0]), 25), [0, 1])


def test_a_single_row_that_differs_is_smoothed_away_and_a_step_stays_where_it_is():
    scores = on((20, 21), (50, 100))
    scores[70] = 0
    np.testing.assert_array_equal(smoothed(scores, 0.4, SECOND), on((50, 100)))


def test_smoothing_is_over_seconds_and_not_over_rows():
    """A blip of 0.1 s goes from a window of 0.4 s at every frame rate; at 100 rows a second it has ten."""
    assert smoothed(on((20, 30)), 0.4, 100).max() == 0
    assert smoothed(on((20, 50)), 0.4, 100).sum() == 30


def test_a_window_shorter_than_two_rows_changes_nothing():
    scores = np.array([0.0, 1, 0, 1])
    np.testing.assert_array_equal(smoothed(scores, 0.4, 2), scores)
    assert len(smoothed(np.zeros(0), 0.4, 25)) == 0


def test_at_the_ends_the_first_and_the_last_row_count_on():
    np.testing.assert_array_equal(smoothed(on((0, 3), (98, 100)), 0.4, SECOND), on((0, 3), (98, 100)))


def test_a_long_video_is_smoothed_without_a_seam():
    """Parts of 65536 rows; a run of ones lies across the first seam."""
    long = on((65530, 65542), (70000, 70001), length=140_000)
    np.testing.assert_array_equal(smoothed(long, 0.4, SECOND), on((65530, 65542), length=140_000))


# Choosing one.


def test_a_label_without_annotations_is_decided_by_the_default():
    default = Decision(0.4, 0.2)
    assert choose_decision([np.random.default_rng(0).random(100)], [on()], [SECOND], default) == default
    assert choose_decision([], [], [], default) == default


def test_what_is_supposed_of_a_label_comes_from_how_often_and_how_long_it_is_on():
    """On in 30 of 200 rows, in segments of 1 s and 2 s; then in all of them; then in segments of 0.4 s."""
    some = supposed_decision([on((20, 30)), on((10, 30))], [SECOND] * 2)
    assert (some.threshold, some.window_seconds) == (pytest.approx(0.3 + 0.4 * 30 / 200), pytest.approx(0.4))
    assert supposed_decision([on((0, 100))], [SECOND]).threshold == pytest.approx(0.7)
    assert supposed_decision([on((20, 24), (50, 54))], [SECOND]).window_seconds == pytest.approx(0.3)
    assert supposed_decision([on()], [SECOND]) == supposed_decision([], []) == Decision()


def test_what_the_default_finds_without_fault_leaves_it_as_it_is():
    truth = [on((20, 60)), on((10, 50))]
    chosen = choose_decision(truth, truth, [SECOND] * 2, Decision())
    assert (chosen.threshold, chosen.window_seconds) == (pytest.approx(0.45), pytest.approx(0.4))


def test_the_threshold_goes_towards_what_separates_best_as_far_as_the_number_of_videos_allows():
    """Scores are 0.62 where the label is on and 0.58 elsewhere: of the thresholds only 0.6 tells them apart. From three videos
    3 of 13 parts of the way are gone, as ten more are supposed to have said 0.45."""
    truth = [on((20, 60)), on((10, 50)), on((30, 70))]
    scores = [0.58 + 0.04 * y for y in truth]
    chosen = choose_decision(scores, truth, [SECOND] * 3, Decision(0.45, 0.0))
    assert (chosen.threshold, chosen.window_seconds) == (pytest.approx(0.45 + 0.15 * 3 / 13), 0)
    many = choose_decision(scores * 9, truth * 9, [SECOND] * 27, Decision(0.45, 0.0))
    assert many.threshold == pytest.approx(0.45 + 0.15 * 27 / 37)


def test_a_label_whose_scores_flicker_is_smoothed_more():
    """Every tenth row is wrong for 0.3 s: a window of 0.7 s removes that."""
    truth = [on((10, 90))] * 27
    scores = [truth[0].copy() for _ in truth]
    for flickering in scores:
        for start in range(15, 80, 10):
            flickering[start : start + 3] = 0
    chosen = choose_decision(scores, truth, [SECOND] * 27, Decision(0.45, 0.0))
    assert chosen.window_seconds == pytest.approx(0.7 * 27 / 37)
    np.testing.assert_array_equal(chosen.apply(scores[0], SECOND) >= 0.5, truth[0])


def test_a_window_is_never_as_long_as_what_it_should_keep():
    """Segments of 0.4 s: at most three quarters of that."""
    truth = [on((20, 24), (50, 54))] * 3
    chosen = choose_decision(truth, truth, [SECOND] * 3, Decision(0.45, 1.6))
    assert chosen.window_seconds == pytest.approx(0.3)


# Its JSON.


def test_a_decision_is_read_as_it_was_written():
    assert Decision.from_json(Decision(0.3, 1.1).to_json()) == Decision(0.3, 1.1)


@pytest.mark.parametrize("written", [None, [], {}, "x", {"threshold": 0.5}, {"threshold": "x", "window_seconds": 0}])
def test_what_is_no_decision_is_refused(written):
    with pytest.raises(ModelError, match="threshold and window_seconds"):
        Decision.from_json(written)


@pytest.mark.parametrize(("threshold", "window"), [(0, 0), (1, 0), (np.nan, 0), (0.5, -1), (0.5, np.nan), (0.5, np.inf)])
def test_numbers_that_no_decision_can_have_are_refused(threshold, window):
    with pytest.raises(ModelError, match="threshold and window_seconds"):
        Decision.from_json({"threshold": threshold, "window_seconds": window})
