"""From scores to what is on: thresholds; expected values are worked by hand."""

import numpy as np
import pytest

from framewise.core.errors import ModelError
from framewise.learning.chains import Chain
from framewise.learning.decisions import Decision, choose_decision, decided, supposed_decision

SECOND = 10.0  # rows


def on(*spans, length=100):
    rows = np.zeros(length)
    for start, stop in spans:
        rows[start:stop] = 1
    return rows


def everywhere(truth):
    return [np.ones(len(y), dtype=bool) for y in truth]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.45, 0.5, 0.9])
def test_the_threshold_comes_to_one_half_and_the_ends_stay_where_they_are(threshold):
    decision = Decision(threshold)
    np.testing.assert_allclose(decision.fold(np.array([0, threshold, 1])), [0, 0.5, 1])
    np.testing.assert_allclose(decision.fold(np.array([threshold / 2, (1 + threshold) / 2])), [0.25, 0.75])


@pytest.mark.parametrize("threshold", [0.1, 0.45, 0.9])
def test_a_higher_score_stays_the_higher_one(threshold):
    folded = Decision(threshold).fold(np.linspace(0, 1, 1001))
    assert (np.diff(folded) > 0).all()


def test_scores_outside_of_0_and_1_become_0_and_1():
    np.testing.assert_array_equal(Decision(0.45).fold(np.array([-3.0, 7.0])), [0, 1])


# Where a label is on in the end.

ONE = [Chain((0,), np.array([[0, 0.1], [0.8, 0]]))]


def test_a_single_row_that_differs_is_passed_over_and_a_step_stays_where_it_is():
    scores = 0.2 + 0.6 * on((20, 21), (50, 100))
    scores[70] = 0.3
    found = decided(scores[:, None], [Decision(0.5)], ONE, {}, 100)[:, 0]
    np.testing.assert_array_equal(found >= 0.5, on((50, 100)))
    assert (found[20], found[70]) == (np.nextafter(0.5, 0), 0.5)
    np.testing.assert_allclose(np.delete(found, [20, 70]), np.delete(scores, [20, 70]))


def test_what_is_said_for_a_second_counts_alike_at_every_frame_rate():
    """0.3 above the threshold for 0.2 s is believed, for 0.02 s it is not; at 1000 rows a second that is as many as the former
    at 100."""
    scores = 0.2 + 0.6 * on((20, 40), length=200)
    found = [decided(scores[:, None], [Decision(0.5)], ONE, {}, rate)[:, 0] >= 0.5 for rate in (100, 1000)]
    assert [int(f.sum()) for f in found] == [20, 0]


# Choosing one.


def test_a_label_without_annotations_is_decided_by_the_default():
    default = Decision(0.4)
    assert choose_decision([np.random.default_rng(0).random(100)], [on()], everywhere([on()]), [SECOND], default) == default
    assert choose_decision([], [], [], [], default) == default


def test_what_is_supposed_of_a_label_comes_from_how_often_it_is_on():
    """On in 30 of 100 rows, and in 30 of 200, which is rare; in all of them; in none."""
    assert supposed_decision([on((20, 50))]).threshold == pytest.approx(0.3 + 0.4 * 30 / 100)
    assert supposed_decision([on((20, 30)), on((10, 30))]).threshold == pytest.approx(0.2 + 30 / 200)
    assert supposed_decision([on((0, 100))]).threshold == pytest.approx(0.7)
    assert supposed_decision([on()]) == supposed_decision([]) == Decision()


def test_what_the_default_finds_without_fault_leaves_it_as_it_is():
    truth = [on((20, 60)), on((10, 50))]
    assert choose_decision(truth, truth, everywhere(truth), [SECOND] * 2, Decision(0.37)) == Decision(0.37)


def test_the_threshold_goes_towards_what_separates_best_as_far_as_the_number_of_videos_allows():
    """Scores are 0.62 where the label is on and 0.58 elsewhere: of the thresholds only 0.6 tells them apart. From three videos
    3 of 13 parts of the way are gone, as ten more are supposed to have said 0.45."""
    truth = [on((20, 60)), on((10, 50)), on((30, 70))]
    scores = [0.58 + 0.04 * y for y in truth]
    chosen = choose_decision(scores, truth, everywhere(truth), [SECOND] * 3, Decision(0.45))
    assert chosen.threshold == pytest.approx(0.45 + 0.15 * 3 / 13)
    many = choose_decision(scores * 9, truth * 9, everywhere(truth * 9), [SECOND] * 27, Decision(0.45))
    assert many.threshold == pytest.approx(0.45 + 0.15 * 27 / 37)


def test_a_threshold_that_is_hardly_better_is_not_taken():
    """In one video of 27 the label is 0.44 high and not 0.6: 0.4 finds that one too, which is a gain of less than 0.03."""
    truth = [on((20, 60))] * 27
    scores = [0.6 * truth[0]] * 26 + [0.44 * truth[0]]
    assert choose_decision(scores, truth, everywhere(truth), [SECOND] * 27, Decision(0.45)) == Decision(0.45)
    fewer = choose_decision(scores[-3:], truth[-3:], everywhere(truth[-3:]), [SECOND] * 3, Decision(0.45))
    assert fewer.threshold == pytest.approx(0.45 - 0.05 * 3 / 13)


# Its JSON.


def test_a_decision_is_read_as_it_was_written():
    assert Decision.from_json(Decision(0.3).to_json()) == Decision(0.3)


@pytest.mark.parametrize("written", [None, [], {}, "x", {"window_seconds": 0.5}, {"threshold": "x"}, {"threshold": None}])
def test_what_is_no_decision_is_refused(written):
    with pytest.raises(ModelError, match="expected a decision's threshold between 0 and 1"):
        Decision.from_json(written)


@pytest.mark.parametrize("threshold", [0, 1, -0.1, np.nan, np.inf])
def test_thresholds_that_no_decision_can_have_are_refused(threshold):
    with pytest.raises(ModelError, match="expected a decision's threshold between 0 and 1"):
        Decision.from_json({"threshold": threshold})
