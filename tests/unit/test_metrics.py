"""Scores of frames and of segments, worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from framewise.core.metrics import (
    average_precision,
    best_matches,
    f1_of_counts,
    frame_f1,
    mean_frame_f1,
    runs,
    segment_counts,
)

timelines = st.integers(0, 40).flatmap(lambda length: st.tuples(*[hnp.arrays(bool, length)] * 2))


def columns(*labels):
    """Each label as a text of 0 and 1, one character a frame: (T, L)."""
    return np.array([[int(c) for c in label] for label in labels], dtype=np.uint8).T


def on(text):
    """A label as a text: (T,)."""
    return np.array([c != "." for c in text], dtype=bool)


def counts(true, found, *thresholds):
    """(TP, FP, FN) at each threshold."""
    c = segment_counts(on(true), on(found), thresholds)
    return list(zip(c.tp.tolist(), c.fp.tolist(), c.fn.tolist(), strict=True))


def test_f1_of_two_labels_by_hand():
    # first: 2 hits, 1 false, 1 missed: 4 / 6; second: no hit
    scores = frame_f1(columns("111000", "000011"), columns("110100", "110000"))
    np.testing.assert_allclose(scores, [4 / 6, 0.0])


def test_f1_of_a_perfect_answer_is_one():
    np.testing.assert_allclose(frame_f1(columns("0110"), columns("0110")), [1.0])


def test_a_label_in_neither_has_no_f1():
    scores = frame_f1(columns("0110", "0000"), columns("0110", "0000"))
    assert scores[0] == 1.0
    assert math.isnan(scores[1])


def test_the_mean_is_over_labels_of_the_reference():
    # first: 1 hit, 1 missed: 2 / 3; second is found but does not occur, third is in neither
    assert mean_frame_f1(columns("1100", "0000", "0000"), columns("1000", "1111", "0000")) == pytest.approx(2 / 3)


def test_the_mean_over_no_label_is_not_a_number():
    assert math.isnan(mean_frame_f1(columns("0000"), columns("0110")))


def test_f1_of_counts_of_nothing_is_not_a_number():
    np.testing.assert_equal(f1_of_counts([3, 0, 0], [1, 2, 0], [1, 0, 0]), [6 / 8, 0.0, math.nan])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("...", []),
        ("x", [[0, 1]]),
        ("xxx", [[0, 3]]),
        (".xx.x", [[1, 3], [4, 5]]),
    ],
)
def test_runs_are_half_open(text, expected):
    assert runs(on(text)).tolist() == expected


@given(hnp.arrays(bool, st.integers(0, 60)))
def test_runs_give_the_timeline_back(timeline):
    rebuilt = np.zeros_like(timeline)
    for index, stop in runs(timeline):
        rebuilt[index:stop] = True

    np.testing.assert_array_equal(rebuilt, timeline)


def test_a_found_segment_takes_the_true_one_of_highest_iou():
    # The first found one shares 2 of 7 rows with the first true one, and 2 of 9 with the second.
    matches, ious = best_matches(runs(on("xxx..xxxxx....")), runs(on(".xxxxxx.....xx")))

    assert matches.tolist() == [0, -1]
    assert ious.tolist() == [2 / 7, 0.0]


def test_segments_that_touch_do_not_match():
    matches, ious = best_matches(runs(on("xx...xx")), runs(on("..xxx..")))

    assert matches.tolist() == [-1]
    assert ious.tolist() == [0.0]


def test_a_hit_needs_the_iou_of_the_threshold():
    # 5 rows shared, of 10: IoU 0.5 exactly
    assert counts("xxxxxxxxxx", "xxxxx.....", 0.1, 0.25, 0.5, 0.51) == [(1, 0, 0), (1, 0, 0), (1, 0, 0), (0, 1, 1)]


def test_a_true_segment_is_hit_once():
    # both found ones share 4 of its 10 rows; the second is a false alarm
    assert counts("xxxxxxxxxx", "xxxx..xxxx", 0.25, 0.5) == [(1, 1, 0), (0, 2, 1)]


def test_a_found_segment_over_two_true_ones_hits_the_better_one_only():
    # IoU 2 / 8 with the first and 5 / 8 with the second
    assert counts("xx.xxxxx", "xxxxxxxx", 0.1, 0.25, 0.5) == [(1, 0, 1), (1, 0, 1), (1, 0, 1)]


def test_a_segment_whose_best_is_taken_does_not_get_another():
    # The first found one has IoU 2 / 8 with the first true one and 4 / 11 with the second, the second found one 2 / 7 with the
    # second. So both take the second, and the first true one, which is free, is missed.
    assert counts("xx..xxxxxxx", "xxxxxxxx.xx", 0.1) == [(1, 1, 1)]


def test_of_two_equally_good_true_segments_the_later_is_taken():
    # The first found one has IoU 2 / 6 and 3 / 9. It takes the later, which the second found one wants as well.
    assert counts("xx.xxxxxx", "xxxxxx.xx", 0.1) == [(1, 1, 1)]


@pytest.mark.parametrize(
    ("true", "found", "expected"),
    [("....", "....", (0, 0, 0)), ("x.x.", "....", (0, 0, 2)), ("....", "x.x.", (0, 2, 0)), ("", "", (0, 0, 0))],
)
def test_counts_where_one_side_has_no_segment(true, found, expected):
    assert counts(true, found, 0.5) == [expected]


@given(timelines)
def test_counts_are_those_of_the_rule_written_out(pair):
    """Every pair, as sets of rows, the way the rule is told."""
    true, found = ([set(range(*run)) for run in runs(timeline).tolist()] for timeline in pair)
    thresholds = (0.1, 0.25, 0.5, 0.9)
    expected = []
    for threshold in thresholds:
        hit = set()
        for segment in found:
            ious = [len(segment & other) / len(segment | other) for other in true]
            best = max(range(len(true)), key=lambda n: (ious[n], n), default=None)
            if best is not None and ious[best] >= threshold and best not in hit:
                hit.add(best)
        expected.append((len(hit), len(found) - len(hit), len(true) - len(hit)))

    c = segment_counts(*pair, thresholds)

    assert list(zip(c.tp, c.fp, c.fn, strict=True)) == expected


@given(timelines)
def test_above_one_half_the_order_of_time_does_not_count(pair):
    # At most one true segment can share more than half with a found one, so no rule of precedence is needed.
    forth, back = (segment_counts(*(t[::step] for t in pair), (0.51,)) for step in (1, -1))

    assert (forth.tp, forth.fp, forth.fn) == (back.tp, back.fp, back.fn)


@given(timelines)
def test_a_perfect_answer_hits_every_segment(pair):
    c = segment_counts(pair[0], pair[0], (0.1, 1.0))

    assert c.tp.tolist() == [len(runs(pair[0]))] * 2
    assert not c.fp.any()
    assert not c.fn.any()


def test_counts_of_videos_add_up():
    first, second = segment_counts(on("xx.x"), on("xx.."), (0.5,)), segment_counts(on("x..."), on("x.xx"), (0.5,))

    both = first + second

    assert (both.tp.tolist(), both.fp.tolist(), both.fn.tolist()) == ([2], [1], [1])
    assert f1_of_counts(both.tp, both.fp, both.fn).tolist() == [4 / 6]


def test_average_precision_by_hand():
    # Right at ranks 1 and 3 of 4: (1 / 1 + 2 / 3) / 2. The example of scikit-learn's documentation has 0.83 as well.
    assert average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == pytest.approx(5 / 6)


def test_average_precision_takes_equal_scores_as_one_step():
    # 0.9: 1 of 1; 0.5: 2 of 4 at once; in no order of the three is that another number
    assert average_precision([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.5]) == pytest.approx(1 / 2 + 1 / 2 * 2 / 4)
    assert average_precision([1, 0, 0, 1], [0.9, 0.5, 0.5, 0.5]) == pytest.approx(1 / 2 + 1 / 2 * 2 / 4)


def test_average_precision_of_one_score_for_all_is_the_share_of_true_frames():
    assert average_precision([1, 0, 0, 1, 0], [0.3] * 5) == pytest.approx(2 / 5)


def test_average_precision_without_a_true_frame_is_not_a_number():
    assert math.isnan(average_precision([0, 0], [0.1, 0.2]))
    assert math.isnan(average_precision([], []))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30), st.randoms())
def test_average_precision_depends_on_neither_order_nor_scale(frames, random):
    shuffled = random.sample(frames, len(frames))

    first = average_precision([t for t, _ in frames], [s / 5 for _, s in frames])
    second = average_precision([t for t, _ in shuffled], [math.exp(s) for _, s in shuffled])

    np.testing.assert_allclose(first, second)
    assert math.isnan(first) or 0 < first <= 1
