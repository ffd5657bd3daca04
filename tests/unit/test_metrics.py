"""Frame F1, worked by hand."""

import math

import numpy as np
import pytest

from framewise.core.metrics import frame_accuracy, frame_f1, mean_frame_f1


def columns(*labels):
    """Each label as a text of 0 and 1, one character a frame: (T, L)."""
    return np.array([[int(c) for c in label] for label in labels], dtype=np.uint8).T


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


def test_accuracy_is_the_share_of_cells_that_agree():
    assert frame_accuracy(columns("1100", "0000"), columns("1000", "1000")) == pytest.approx(6 / 8)


def test_accuracy_of_nothing_is_not_a_number():
    assert math.isnan(frame_accuracy(np.empty((0, 2)), np.empty((0, 2))))
