"""The conversions under the names and in the places of Label Studio's guide to TimelineLabels."""

import numpy as np

from utils.converter import convert_probs_to_timelinelabels, convert_timelinelabels_to_probs

LABEL_MAP = {"Walk": 0, "Run": 1}


def test_convert_probs_to_timelinelabels():
    probs = np.array([[0.9, 0.1], [0.8, 0.1], [0.2, 0.5], [0.1, 0.7], [0.6, 0.2]])
    regions = convert_probs_to_timelinelabels(probs, LABEL_MAP, score_threshold=0.5)
    found = sorted(
        (r["value"]["timelinelabels"][0], r["value"]["ranges"][0]["start"], r["value"]["ranges"][0]["end"]) for r in regions
    )
    assert found == [("Run", 3, 4), ("Walk", 1, 2), ("Walk", 5, 5)]


def test_convert_timelinelabels_to_probs():
    regions = [
        {"id": "1", "type": "timelinelabels", "value": {"ranges": [{"start": 1, "end": 2}], "timelinelabels": ["Walk"]}},
        {"id": "2", "type": "timelinelabels", "value": {"ranges": [{"start": 2, "end": 4}], "timelinelabels": ["Run"]}},
    ]
    labels, used = convert_timelinelabels_to_probs(regions, LABEL_MAP, max_frame=5)
    np.testing.assert_array_equal(labels, [[1, 0], [1, 1], [0, 1], [0, 1], [0, 0]])
    assert used == {"Walk", "Run"}


def test_without_max_frame_the_array_ends_with_the_last_annotated_frame():
    regions = [{"id": "1", "type": "timelinelabels", "value": {"ranges": [{"start": 2, "end": 3}], "timelinelabels": ["Run"]}}]
    labels, used = convert_timelinelabels_to_probs(regions, LABEL_MAP)
    np.testing.assert_array_equal(labels, [[0, 0], [0, 1], [0, 1]])
    assert used == {"Run"}
