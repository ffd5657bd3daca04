"""Chains that are counted in annotations, and the most probable course of labels; expected values are worked by
hand or by trying all courses."""

import itertools

import numpy as np
import pytest

from framewise.core.errors import ModelError
from framewise.learning.chains import MAX_EVIDENCE, MIN_EVIDENCE, Chain, _most_probable, chains_of, decode

RATE = 10.0
UP, FALLING, LYING = 0, 1, 2


def timeline(*parts, labels=3):
    """0/1 (T, labels): of each part (label or None, rows)."""
    rows = np.zeros((sum(length for _, length in parts), labels))
    start = 0
    for label, length in parts:
        if label is not None:
            rows[start : start + length, label] = 1
        start += length
    return rows


FALL = timeline((UP, 30), (FALLING, 5), (LYING, 25))


def groups(truth, taught=None):
    told = taught or [np.ones(t.shape[1], dtype=bool) for t in truth]
    known = [np.tile(labels, (len(t), 1)) for t, labels in zip(truth, told, strict=True)]
    return [chain.labels for chain in chains_of(truth, known, [RATE] * len(truth))]


# Which labels exclude each other.


def test_labels_that_are_never_on_together_share_a_chain_once_that_says_something():
    """One falling is in a row of the upright half by chance .5 times, in two videos twice as often, and lying as much."""
    assert groups([FALL]) == [(UP,), (FALLING,), (LYING,)]
    assert groups([FALL] * 4) == [(UP, FALLING, LYING)]


def test_labels_that_are_on_together_have_a_chain_each():
    both = np.maximum(FALL, timeline((None, 20), (LYING, 20), (None, 20)))
    assert groups([FALL, both, both, both]) == [(UP, FALLING), (LYING,)]


def test_a_row_in_which_one_label_ends_late_does_not_matter():
    late = timeline((UP, 200), (LYING, 100))
    late[200, UP] = 1
    assert groups([late] * 4) == [(UP, LYING), (FALLING,)]


def test_labels_exclude_each_other_only_where_both_are_taught():
    """In the videos that would say so, one of the two was not among the labels yet."""
    half = [np.array([True, True, False]), np.array([True, False, True])] * 4
    assert (FALLING, LYING) not in groups([FALL] * 8, half)
    assert groups([FALL] * 8, half)[0][0] == UP
    assert sorted(label for labels in groups([FALL] * 8, half) for label in labels) == [0, 1, 2]


def test_what_is_counted_is_how_often_a_second_each_follows_each():
    """Up lasts 30 rows = 3 s and ends once; one second with one end more is supposed of each state, spread over the others."""
    (chain,) = chains_of([FALL] * 4, [np.ones(FALL.shape, dtype=bool)] * 4, [RATE] * 4)
    third = 1 / 3
    expected = np.array(
        [
            [0, third, third, third],
            [third / 13, 0, (4 + third) / 13, third / 13],
            [third / 3, third / 3, 0, (4 + third) / 3],
            [third / 11, third / 11, third / 11, 0],
        ]
    )
    np.testing.assert_allclose(chain.changes, expected)


def test_labels_without_any_annotation_have_chains():
    assert groups([np.zeros((50, 3))]) == [(0,), (1,), (2,)]
    assert groups([np.zeros((0, 3))]) == [(0,), (1,), (2,)]
    nothing_taught = chains_of([FALL], [np.zeros(FALL.shape, dtype=bool)], [RATE])
    assert [chain.changes.tolist() for chain in nothing_taught] == [[[0, 1], [1, 0]]] * 3


# The most probable course.


def probability(states, evidence, change):
    return evidence[np.arange(len(states)), states].sum() + change[states[:-1], states[1:]].sum()


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("seed", range(20))
def test_no_other_course_is_more_probable(size, seed):
    """All courses of nine rows are tried."""
    random_numbers = np.random.default_rng(seed)
    evidence, change = random_numbers.normal(size=(9, size)), -random_numbers.exponential(size=(size, size))
    np.fill_diagonal(change, 0)
    best = max(itertools.product(range(size), repeat=9), key=lambda s: probability(np.array(s), evidence, change))
    found = _most_probable(evidence, change)
    assert probability(found, evidence, change) == pytest.approx(probability(np.array(best), evidence, change))


def test_rows_of_equal_evidence_are_one_step_and_a_video_of_one_row_or_none_has_a_course():
    change = np.array([[0, -2.0], [-2.0, 0]])
    assert _most_probable(np.zeros((5, 2)), change).tolist() == [0] * 5
    assert _most_probable(np.array([[0, 1.0]] * 3 + [[0, -3.0]] * 3), change).tolist() == [1] * 3 + [0] * 3
    assert _most_probable(np.array([[0.0, 1.0]]), change).tolist() == [1]
    assert _most_probable(np.zeros((0, 2)), change).tolist() == []


def above(truth, sure=0.3):
    return np.where(truth == 1, sure, -sure)


def test_of_labels_that_exclude_each_other_one_is_on_at_a_time():
    chains = chains_of([FALL] * 4, [np.ones(FALL.shape, dtype=bool)] * 4, [RATE] * 4)
    doubted = above(FALL)
    doubted[35:, UP] = 0.2  # while lying is 0.3 above its threshold
    np.testing.assert_array_equal(decode(chains, doubted, RATE), FALL)


def test_what_never_follows_needs_more_evidence_than_what_does():
    """Between up and lying there was always a fall. Where its score is as much below the threshold as would be passed over in
    either of the others, it is found there."""
    chains = chains_of([FALL] * 50, [np.ones(FALL.shape, dtype=bool)] * 50, [RATE] * 50)
    weak = above(FALL)
    weak[30:35] = [-0.02, -0.02, -0.02]
    np.testing.assert_array_equal(decode(chains, weak, RATE), FALL)
    alone = [Chain.of([label], [FALL] * 50, [np.ones(FALL.shape, dtype=bool)] * 50, [RATE] * 50) for label in range(3)]
    assert decode(alone, weak, RATE)[30:35].sum() == 0


@pytest.mark.parametrize("rate", [1.0, 25.0, 1000.0])
def test_a_course_exists_at_every_frame_rate(rate):
    """At one row a second a state may end oftener than rows are."""
    chain = Chain((0,), np.array([[0, 50.0], [50.0, 0]]))
    truth = timeline((0, 3), (None, 2), (0, 4), labels=1)
    strong = np.where(truth == 1, 1.0, -1.0) * rate / MAX_EVIDENCE * 9
    np.testing.assert_array_equal(chain.decode(strong, rate), truth)


# What a second of scores says.


def changing(*seconds):
    """A chain of labels that last so many seconds each, and after which none is on for as long."""
    size = len(seconds) + 1
    changes = np.zeros((size, size))
    changes[1:, 0] = 1 / np.array(seconds)
    changes[0, 1:] = 0.01
    return Chain(tuple(range(len(seconds))), changes)


@pytest.mark.parametrize(
    ("seconds", "evidence"),
    [
        (0.1, MAX_EVIDENCE),  # 3000, and no more than 240
        (1.0, MAX_EVIDENCE),  # 300
        (1.25, 240),
        (2.0, 150),
        (10.0, 30),
        (15.0, 20),
        (60.0, MIN_EVIDENCE),  # 5, and no less than 20
        (3600.0, MIN_EVIDENCE),
    ],
)
def test_a_second_says_less_of_a_label_that_lasts_long(seconds, evidence):
    """300 over the time that the label lasts, between 20 and 240."""
    assert (MIN_EVIDENCE, MAX_EVIDENCE) == (20, 240)
    assert changing(seconds).evidence_per_second == pytest.approx(evidence)


def test_of_a_chain_the_label_counts_that_ends_soonest():
    """Whatever it becomes: one of .2 ends a second that become two others lasts 5 s. How long none is on plays no part."""
    assert changing(60, 5, 20).evidence_per_second == pytest.approx(60)
    chain = changing(60, 20)
    chain.changes[2] = 0.15, 0.05, 0
    chain.changes[0, 1] = 100
    assert chain.evidence_per_second == pytest.approx(60)


def test_how_long_annotated_labels_last_is_what_scores_are_worth():
    """One end in 4 s, and one in a second that is supposed: 2.5 s. In 149 s and that second: 75 s, which are worth least."""
    long = [timeline((None, 100), (0, 1490), (None, 100), labels=1)]
    short = [timeline((None, 100), (0, 40), (None, 100), labels=1)]
    of_long, of_short = (Chain.of([0], truth, [np.ones((len(truth[0]), 1), dtype=bool)], [RATE]) for truth in (long, short))
    assert of_long.evidence_per_second == MIN_EVIDENCE
    assert of_short.evidence_per_second == pytest.approx(300 * 2 / 5)


def test_a_long_state_is_not_cut_where_its_scores_fall_for_a_while():
    """Half a second of two minutes is .3 below the threshold: a label of half seconds ends there and begins again."""
    truth = timeline((None, 600), (0, 1200), (None, 600), labels=1)
    chain = Chain.of([0], [truth], [np.ones(truth.shape, dtype=bool)], [RATE])
    scores = above(truth)
    scores[1200:1205] = -0.3
    np.testing.assert_array_equal(chain.decode(scores, RATE), truth)
    quick = Chain((0,), np.array([[0, 2.0], [2.0, 0]]))
    assert quick.decode(scores, RATE)[1200:1205].sum() == 0


def test_a_state_of_minutes_is_not_cut_beside_a_label_of_a_second_either():
    """In one chain, half a second of the long state is .3 below its threshold; the short label, of a second, is found."""
    truth = timeline((0, 600), (1, 10), (0, 600), (None, 100), labels=2)
    chain = Chain.of([0, 1], [truth], [np.ones(truth.shape, dtype=bool)], [RATE])
    scores = above(truth)
    scores[300:305, 0] = -0.3
    np.testing.assert_array_equal(chain.decode(scores, RATE), truth)


def test_a_change_of_the_longest_lived_state_needs_as_much_more_as_it_lasts_beyond_three_times_the_shortest():
    """Labels of 2, 6 and 30 s: a third of three times as long, and a third of fifteen times."""
    assert changing(2, 6, 30).resistance == pytest.approx(
        np.array([[1, 1, 1, 5], [1, 1, 1, 5], [1, 1, 1, 5], [5, 5, 5, 5]], dtype=float)
    )


# Its JSON.


def test_a_chain_is_read_as_it_was_written():
    chain = Chain.of([0, 2], [FALL] * 2, [np.ones(FALL.shape, dtype=bool)] * 2, [RATE] * 2)
    read = Chain.from_json(chain.to_json())
    assert read.labels == (0, 2)
    np.testing.assert_array_equal(read.changes, chain.changes)


@pytest.mark.parametrize(
    "written",
    [
        None,
        [],
        {"labels": [0]},
        {"labels": [], "changes": [[0]]},
        {"labels": ["x"], "changes": [[0, 1], [1, 0]]},
        {"labels": [0, 1], "changes": [[0, 1], [1, 0]]},
        {"labels": [0], "changes": [[0, -1], [1, 0]]},
        {"labels": [0], "changes": [[0, float("nan")], [1, 0]]},
        {"labels": [0], "changes": [[0, 1], [1]]},
        {"labels": [0], "changes": "x"},
    ],
)
def test_what_is_no_chain_is_refused(written):
    with pytest.raises(ModelError, match="expected a chain's labels"):
        Chain.from_json(written)
