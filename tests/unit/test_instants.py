"""Labels of an instant: peaks of a score, worked by hand, and flashes of one row in made-up films."""

import json

import numpy as np
import pytest
import torch

from framewise.core.errors import ModelError
from framewise.core.metrics import runs
from framewise.learning.auto import learn_quickly, learn_thoroughly
from framewise.learning.instants import BESIDE, THRESHOLDS, Instant, instant_labels, near_instants, widened
from framewise.learning.models import load_model
from framewise.learning.tracks import LabelledVideo, Track
from tests.film_help import DIRECTIONS, LABELS, MOTION, all_known, film, plans, quiet

RATE = 10.0
INSTANT = Instant(threshold=0.5, apart_seconds=0.25, seconds=0.1)  # at ten rows a second three rows apart, one row long


pytestmark = pytest.mark.usefixtures("one_thread")


def marked(rows, *spans):
    """0/1 (rows,), on in each (start, stop)."""
    on = np.zeros(rows, dtype=np.uint8)
    for start, stop in spans:
        on[start:stop] = 1
    return on


# Peaks.


@pytest.mark.parametrize(
    ("scores", "peaks"),
    [
        ([0, 0.1, 0.6, 0.1, 0, 0.2], [2]),
        ([0, 0.2, 0.4, 0.2, 0, 0], []),  # below the threshold
        ([0, 0.2, 0.5, 0.2, 0, 0], [2]),  # at the threshold
        ([0, 0, 0.6, 0.6, 0.6, 0, 0], [2]),  # of a plateau the first row
        ([0, 0.6, 0, 0.9, 0, 0, 0], [3]),  # the lower of two that are two rows apart
        ([0, 0.6, 0, 0, 0.9, 0, 0], [1, 4]),  # three rows apart, both
        ([0, 0.6, 0, 0.6, 0, 0, 0], [1]),  # of equal ones that are two rows apart the first
        ([0.9, 0.8, 0, 0, 0, 0.8, 0.9], [0, 6]),  # at either end
        ([0.7], [0]),
        ([0.3], []),
    ],
)
def test_peaks_are_the_highest_rows_within_reach(scores, peaks):
    assert INSTANT.peaks(np.array(scores, dtype=float), RATE).tolist() == peaks


def test_peaks_need_the_same_time_between_them_at_any_frame_rate():
    """A quarter of a second is 7.5 rows of 30, and 60 of 240."""
    for rate, apart in ((30.0, 8), (240.0, 60)):
        scores = np.zeros(300)
        scores[[50, 50 + apart, 150, 150 + apart - 1]] = 0.6, 0.9, 0.6, 0.9
        assert INSTANT.peaks(scores, rate).tolist() == [50, 50 + apart, 150 + apart - 1]


def test_an_instant_is_as_long_as_annotated_ones_around_its_peak():
    """Three tenths of a second, the middle row on the peak; at an end of the video what is left of it."""
    scores = np.zeros(12)
    scores[[0, 5, 11]] = 0.75
    found = Instant(0.5, 0.25, 0.3).decided(scores, RATE)
    assert runs(found >= 0.5).tolist() == [[0, 2], [4, 7], [10, 12]]
    np.testing.assert_allclose(found[4:7], 0.75)  # halfway from the threshold to 1
    assert INSTANT.decided(scores, RATE)[[0, 5, 11]].tolist() == [0.75, 0.75, 0.75]


def test_what_is_no_peak_is_below_a_half_however_high():
    found = INSTANT.decided(np.array([0, 0.25, 0.9, 1.0, 0.9, 0.25, 0]), RATE)
    assert runs(found >= 0.5).tolist() == [[3, 4]]
    assert found[3] == 1
    assert found[1] == 0.25  # half of the threshold


# What is supposed, and chosen.


def test_without_near_annotations_instants_are_a_quarter_of_a_second_apart():
    """One, two and two rows of ten a second."""
    supposed = Instant.supposed([marked(40, (3, 4), (20, 22)), marked(20, (10, 12))], [RATE, RATE])
    assert supposed == Instant(THRESHOLDS[0], 0.25, 0.2)


def test_where_annotated_instants_are_near_each_other_half_of_that_is_enough():
    """Rows 10 and 14 of 20 a second, .2 s; seconds count, not rows: 30 rows of 240 a second are less."""
    twenty = marked(40, (10, 11), (14, 15))
    assert Instant.supposed([twenty], [20.0]).apart_seconds == pytest.approx(0.1)
    assert Instant.supposed([twenty, marked(90, (10, 11), (40, 41))], [20.0, 240.0]).apart_seconds == pytest.approx(0.0625)


def scored(peaks, rows=100):
    """Scores (rows,), of each (row, score)."""
    scores = np.zeros(rows)
    for row, score in peaks:
        scores[row] = score
    return scores


def test_the_threshold_is_chosen_that_finds_most_instants_and_few_count_less():
    """Four at .42 and four that are none at .38: .4 is best. Of the way from .3 there go four of four and ten supposed."""
    truth = marked(100, *((row, row + 1) for row in (10, 30, 50, 70)))
    scores = scored([(row, 0.42) for row in (10, 30, 50, 70)] + [(row, 0.38) for row in (20, 40, 60, 80)])
    chosen = Instant(0.3, 0.25, 0.1).chosen([scores], [truth], [RATE])
    assert chosen.threshold == pytest.approx(0.3 + 0.1 * 4 / 14)
    assert (chosen.apart_seconds, chosen.seconds) == (0.25, 0.1)


def test_where_all_thresholds_are_as_good_the_first_stays():
    truth = marked(100, (10, 11), (30, 31))
    for scores in (scored([(10, 0.9), (30, 0.9)]), scored([])):
        assert Instant(0.3, 0.25, 0.1).chosen([scores], [truth], [RATE]).threshold == pytest.approx(0.3)


def test_an_instant_that_is_found_too_far_away_is_not_found():
    """Scores of .34 two rows beside are wrong at 25 a second (.08 s) and right at 50 (.04 s): there .35 would miss them."""
    truth, scores = marked(100, (10, 11), (60, 61)), scored([(10, 0.36), (62, 0.34)])
    slow, fast = (Instant(0.3, 0.25, 0.02).chosen([scores], [truth], [rate]) for rate in (25.0, 50.0))
    assert slow.threshold == pytest.approx(0.3 + 0.05 * 2 / 12)
    assert fast.threshold == pytest.approx(0.3)


# Its JSON.


def test_an_instant_is_read_as_it_was_written():
    assert Instant.from_json(json.loads(json.dumps(INSTANT.to_json()))) == INSTANT


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0},
        {"threshold": 1},
        {"threshold": "x"},
        {"threshold": float("nan")},
        {"apart_seconds": -0.1},
        {"apart_seconds": float("inf")},
        {"seconds": 0},
        {"seconds": float("inf")},
        {"seconds": None},
    ],
)
def test_what_is_no_instant_is_refused(wrong):
    with pytest.raises(ModelError, match="expected an instant's threshold"):
        Instant.from_json({**INSTANT.to_json(), **wrong})


@pytest.mark.parametrize("name", ["threshold", "apart_seconds", "seconds"])
def test_an_instant_without_one_of_its_numbers_is_refused(name):
    with pytest.raises(ModelError, match="expected an instant's threshold"):
        Instant.from_json({key: value for key, value in INSTANT.to_json().items() if key != name})


@pytest.mark.parametrize("written", [None, [], "x", 0.5])
def test_what_is_no_object_is_refused(written):
    with pytest.raises(ModelError, match="expected an instant's threshold"):
        Instant.from_json(written)


# Which labels are instants, and what is learned around them.


@pytest.mark.parametrize(("rate", "longest"), [(2.0, 1), (10.0, 1), (25.0, 2), (30.0, 3), (240.0, 24)])
def test_a_label_that_lasts_a_tenth_of_a_second_or_a_row_is_one_of_an_instant(rate, longest):
    truth = np.stack([marked(100, (10, 10 + rows), (50, 50 + rows)) for rows in (longest, longest + 1)], 1)
    assert instant_labels([truth], [rate]) == [0]


def test_the_length_in_the_middle_decides_whether_a_label_is_of_an_instant():
    """One of three is long in the first column, two in the second; the third is nowhere."""
    mostly, seldom = marked(90, (5, 6), (20, 21), (40, 80)), marked(90, (5, 6), (20, 30), (40, 80))
    assert instant_labels([np.stack([mostly, seldom, marked(90)], 1)], [RATE]) == [0]


def track_of(on, rate, known=None):
    labels = torch.from_numpy(np.asarray(on, dtype=np.float32))
    known = torch.ones(labels.shape, dtype=torch.bool) if known is None else torch.from_numpy(known)
    return Track(torch.zeros(len(labels), 1), torch.zeros(len(labels), MOTION), rate, labels, known)


def test_an_instant_is_learned_a_little_wider_and_other_labels_as_they_are():
    """A twentieth of a second is one row of 25 a second, and two of 40."""
    on = np.stack([marked(8, (3, 4))] * 2, 1)
    assert widened(track_of(on, 25.0), [1]).frame_labels[:, 0].tolist() == on[:, 0].tolist()
    for rate, expected in ((25.0, [0, 0, BESIDE, 1, BESIDE, 0, 0, 0]), (40.0, [0, BESIDE, BESIDE, 1, BESIDE, BESIDE, 0, 0])):
        np.testing.assert_allclose(widened(track_of(on, rate), [1]).frame_labels[:, 1].numpy(), expected)


def test_rows_near_an_instant_are_those_within_three_tenths_of_a_second():
    on = np.stack([marked(20, (10, 11)), marked(20, (0, 20))], 1)
    near = near_instants(track_of(on, RATE), [0])
    assert runs(near.numpy()).tolist() == [[7, 14]]
    assert not near_instants(track_of(on, RATE), []).any()


def test_what_is_not_known_to_be_an_instant_is_learned_from_nowhere():
    """Row 10 is marked and unknown."""
    on, known = marked(20, (10, 11))[:, None], np.ones((20, 1), dtype=bool)
    known[10] = False
    track = track_of(on, RATE, known)
    assert not near_instants(track, [0]).any()
    assert widened(track, [0]).frame_labels[known].sum() == 0


# From marks to instants.


def with_flashes(seed, moments, plan, frame_rate=25.0):
    """A film in which Walk is on for seconds, and Run marks flashes of one row: all of the picture changes and changes back."""
    rows, truth = film(seed, [plan[0], []], frame_rate=frame_rate)
    flashes = np.round(np.asarray(moments) * frame_rate).astype(int)
    truth[flashes, 1] = 1
    rows.seen[flashes] += 2 * DIRECTIONS[1]
    spans = slice(MOTION // 2), slice(MOTION // 2, MOTION)
    for span, seconds in zip(spans, (1 / 30, 4 / 30), strict=True):  # between the pictures that are compared
        for row in flashes:
            rows.moves[[row, row + max(1, round(seconds * frame_rate))], span] += 0.05
    return LabelledVideo(rows, truth, all_known(truth), seed)


MOMENTS = [(1.2, 4.1, 6.3, 8.8, 12.1), (2.2, 5.3, 7.4, 12.6), (0.8, 3.9, 8.2, 10.7)]


def flashing(frame_rate=25.0):
    plans_of = zip(MOMENTS, plans(3), strict=True)
    return [with_flashes(seed, moments, plan, frame_rate) for seed, (moments, plan) in enumerate(plans_of)]


def flashes_found(classifier, video):
    found = runs(classifier.predict(video.rows)[:, 1] >= 0.5)
    return found, np.flatnonzero(video.frame_labels[:, 1])


@pytest.mark.parametrize("frame_rate", [10.0, 25.0, 30.0])
def test_flashes_of_one_row_are_found_in_another_film_and_nowhere_else(frame_rate):
    classifier = learn_quickly(flashing(frame_rate), LABELS, None)
    new = with_flashes(9, (1.7, 3.4, 5.5, 9.9, 13.0), [[(6, 9)], []], frame_rate)
    found, true = flashes_found(classifier, new)
    assert len(found) == len(true) == 5
    assert (np.diff(found, axis=1) == 1).all()
    assert np.abs(found[:, 0] - true).max() <= 1


@pytest.fixture(scope="module")
def thorough():
    return learn_thoroughly(flashing(), LABELS, quiet)


def test_a_label_of_an_instant_and_one_of_seconds_are_both_found(thorough):
    classifier = thorough.classifier
    assert list(classifier.instants) == [1]
    assert [chain.labels for chain in classifier.chains] == [(0,)]
    new = with_flashes(9, (1.7, 3.4, 5.5, 9.9, 13.0), [[(6, 9)], []])
    found, true = flashes_found(classifier, new)
    assert found.tolist() == [[row, row + 1] for row in true]
    walks = classifier.predict(new.rows)[:, 0] >= 0.5
    assert (walks == new.frame_labels[:, 0]).mean() > 0.95


def test_flashes_of_films_that_were_left_out_are_found(thorough):
    told = thorough.quality.to_json()["labels"]["Run"]
    assert told["true_segments"] == told["predicted_segments"] == 13
    assert told["f1@50"] > 0.9


def test_a_saved_classifier_finds_the_same_instants(thorough, tmp_path):
    thorough.classifier.save(tmp_path / "version")
    loaded = load_model(tmp_path / "version")
    assert loaded.instants == thorough.classifier.instants
    new = with_flashes(9, (1.7, 3.4), [[(6, 9)], []])
    assert flashes_found(loaded, new)[0].tolist() == flashes_found(thorough.classifier, new)[0].tolist()


def test_a_version_that_learns_quickly_keeps_the_thresholds_that_were_measured(thorough):
    measured = thorough.classifier
    first = flashing()[:1]
    added = learn_quickly(first, LABELS, measured).instants[1]
    assert added.threshold == measured.instants[1].threshold
    assert learn_quickly(first, LABELS, None).instants[1].threshold == THRESHOLDS[0]
