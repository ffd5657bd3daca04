"""Stretches without a mark that look like marks."""

import numpy as np

from framewise.learning.held_out import HeldOutVideo
from framewise.learning.unmarked import Stretch, left_unmarked

LABELS = ["Fall", "Run"]


def video(task, marked, scored, known=None):
    """A video of two labels at two rows a second. marked: of Fall, "x" where it is; scored: tenths of its score a row."""
    truth = np.array([[mark == "x", False] for mark in marked])
    scores = np.array([[int(digit) / 10, 0.0] for digit in scored])
    mask = np.ones(truth.shape, dtype=bool) if known is None else np.array([[mark == "k", True] for mark in known])
    return HeldOutVideo.of(task, 2.0, scores, truth, mask)


# Marks of 2 s, found with .8; one more in each that nobody marked, of .9.
HALF_MARKED = [video(task, ".xxxx..........", ".8888....9999..".replace(".", "0")) for task in (1, 2, 3)]


def test_stretches_that_score_like_the_marks_are_asked_about():
    assert left_unmarked(HALF_MARKED, LABELS) == [Stretch(task, "Fall", 4.5, 6.5) for task in (1, 2, 3)]


def test_one_is_chance():
    assert left_unmarked([HALF_MARKED[0], video(2, ".xxxx", "08888")], LABELS) == []


def test_of_a_label_whose_marks_are_mostly_not_found_nothing_is_asked():
    missed = [video(task, ".xxxx.xxxx.xxxx.", "0" * 16) for task in (4, 5, 6)]

    assert left_unmarked([*HALF_MARKED, missed[0]], LABELS) != []
    assert left_unmarked([*HALF_MARKED, *missed], LABELS) == []


def test_a_stretch_marked_with_a_label_that_never_overlaps_is_not_unmarked():
    for one in (marked := [video(task, ".xxxx..........", "088880000999900") for task in (1, 2, 3)]):
        one.truth[8:12, 1] = 1

    assert left_unmarked(marked, LABELS) == []

    marked[0].truth[1, 1] = 1  # from here on the two overlap
    assert len(left_unmarked(marked, LABELS)) == 3


def test_few_beside_many_marks_are_chance():
    many = [video(task, ".xxxx", "08888") for task in range(4, 40)]

    assert left_unmarked([*HALF_MARKED, *many], LABELS) == []


def test_what_scores_less_or_is_shorter_or_touches_a_mark_is_not_like_a_mark():
    unlike = [
        *[video(task, ".xxxx......", "08888007777") for task in (1, 2, 3)],  # .7 beside .8
        *[video(task, ".xxxx......", "08888009000") for task in (4, 5, 6)],  # half a second beside two
        *[video(task, ".xxxx......", "09999999900") for task in (7, 8, 9)],  # the mark itself, drawn too long
    ]

    assert left_unmarked(unlike, LABELS) == []


def test_where_nothing_is_known_nothing_is_asked():
    known = "kkkkkkk" + 8 * "u"
    after_last = [video(task, ".xxxx..........", "088880000999900", known) for task in (1, 2, 3)]

    assert left_unmarked(after_last, LABELS) == []


def test_the_likeliest_comes_first():
    videos = [*HALF_MARKED, video(4, ".xxxx......", "08888009999")]
    best = video(5, ".xxxx......", "0888800" + 4 * "9")
    best.scores[7:, 0] = 255

    assert left_unmarked([*videos, best], LABELS)[0] == Stretch(5, "Fall", 3.5, 5.5)
