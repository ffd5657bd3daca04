"""``utils/converter.py`` by the calls of Label Studio's guide to TimelineLabels, and by those that framewise had first."""

import numpy as np
import pytest
import torch

from utils.converter import convert_probs_to_timelinelabels, convert_timelinelabels_to_probs

LABEL_MAP = {"Walk": 0, "Run": 1}
PROBS = [[0.75, 0.25], [0.875, 0.25], [0.5, 0.375], [0.25, 0.75], [0.125, 0.25], [1.0, 0.75]]


def found(regions):
    """(label, first frame, last frame) of regions, in time."""
    spans = [(r["value"]["timelinelabels"][0], r["value"]["ranges"][0]) for r in regions]
    return sorted(((label, span["start"], span["end"]) for label, span in spans), key=lambda one: one[1:])


AT_HALF = [("Walk", 1, 3), ("Run", 4, 4), ("Walk", 6, 6), ("Run", 6, 6)]
ABOVE = [("Walk", 1, 2), ("Run", 4, 4), ("Walk", 6, 6), ("Run", 6, 6)]


def test_the_third_place_is_the_name_of_the_control():
    regions = convert_probs_to_timelinelabels(PROBS, LABEL_MAP, "moves", score_threshold=0.5)
    assert sorted(found(regions)) == sorted(AT_HALF)
    assert {(r["from_name"], r["to_name"], r["type"]) for r in regions} == {("moves", "video", "timelinelabels")}
    assert next(r["score"] for r in regions if r["value"]["ranges"][0]["end"] == 3) == pytest.approx(2.125 / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("moves", 0.7), {}),
        (("moves",), {"threshold": 0.7}),
        ((), {"from_name": "moves", "score_threshold": 0.7}),
        ((0.7, "moves"), {}),
        ((0.7, "moves", "video"), {}),
    ],
)
def test_a_threshold_and_a_name_in_each_of_their_places(places, names):
    regions = convert_probs_to_timelinelabels(PROBS, LABEL_MAP, *places, **names)
    assert {(r["from_name"], r["to_name"]) for r in regions} == {("moves", "video")}
    assert sorted(found(regions)) == sorted(ABOVE)


def test_a_number_in_the_third_place_is_the_threshold():
    regions = convert_probs_to_timelinelabels(PROBS, LABEL_MAP, 0.7)
    assert {r["from_name"] for r in regions} == {"videoLabels"}
    assert sorted(found(regions)) == sorted(ABOVE)


@pytest.mark.parametrize(
    "probs",
    [
        np.array(PROBS, dtype=np.float32),
        torch.tensor(PROBS),
        torch.tensor(PROBS, requires_grad=True),
        [np.array(row) for row in PROBS],
        list(torch.tensor(PROBS)),
    ],
    ids=["array", "tensor", "tensor of a network", "arrays", "tensors"],
)
def test_scores_come_in_each_form_that_the_guide_has_them_in(probs):
    assert sorted(found(convert_probs_to_timelinelabels(probs, LABEL_MAP, "moves"))) == sorted(AT_HALF)


def test_regions_come_back_as_the_scores_above_the_threshold():
    regions = convert_probs_to_timelinelabels(PROBS, LABEL_MAP, "moves", score_threshold=0.5)
    labels, used = convert_timelinelabels_to_probs(regions, label_map=LABEL_MAP, max_frame=len(PROBS))
    np.testing.assert_array_equal(labels, np.array(PROBS) >= 0.5)
    assert used == {"Walk", "Run"}


@pytest.mark.parametrize("probs", [[], torch.tensor([]), np.empty((0, 2))])
def test_no_frame_has_no_region(probs):
    assert convert_probs_to_timelinelabels(probs, LABEL_MAP, "moves") == []
