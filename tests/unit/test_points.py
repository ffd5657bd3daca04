"""Intervals of occurrences of which one frame is marked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.core.metrics import runs
from framewise.learning import points
from framewise.learning.auto import learn_quickly, learn_thoroughly
from framewise.learning.chains import grouped
from framewise.learning.joint import fit_basis
from framewise.learning.tracks import LabelledVideo
from tests.unit.test_auto import LABELS, film, labelled, plans, quiet, truth_of

ROWS = 12


pytestmark = pytest.mark.usefixtures("one_thread")


def marked(*, marks=(), drawn=(), labels=2, rows=ROWS):
    """Marks (row, label), and drawn regions (start, stop, label)."""
    on, region = np.zeros((rows, labels), dtype=bool), np.zeros((rows, labels), dtype=bool)
    for row, label in marks:
        on[row, label] = True
    for start, stop, label in drawn:
        region[start:stop, label] = True
    return points._Marked(on, region & ~on, np.ones_like(on), 25.0)


def above(*lines):
    """Scores above thresholds, (T, L), of a line a label: + is 1, - is -1, . is -0.1."""
    return np.array([[{"+": 1.0, "-": -1.0, ".": -0.1}[sign] for sign in line] for line in lines]).T


def decoded(told, scores, groups, gapless=None):
    on = points._decoded(told, scores, groups, gapless or [False] * len(groups))
    return ["".join("#" if x else "." for x in column) for column in on.T]


# Where an occurrence begins and ends, by scores that were made by hand.


def test_an_occurrence_lasts_as_long_as_its_scores_are_above_the_threshold():
    assert decoded(marked(marks=[(4, 0)], labels=1), above("--+++++-----"), [[0]]) == ["..#####....."]


def test_a_dip_that_is_less_than_what_lies_beyond_is_inside():
    assert decoded(marked(marks=[(2, 0)], labels=1), above("-+++.+++----"), [[0]]) == [".#######...."]
    assert decoded(marked(marks=[(2, 0)], labels=1), above("-+++---+----"), [[0]]) == [".###........"]


def test_an_occurrence_whose_scores_do_not_extend_is_its_mark():
    assert decoded(marked(marks=[(6, 0)], labels=1), above("------+-----"), [[0]]) == ["......#....."]


def test_between_two_marks_of_a_label_is_a_gap_at_the_lowest_score():
    scores = above("++++++++++++")
    scores[5] = 0.5
    assert decoded(marked(marks=[(2, 0), (8, 0)], labels=1), scores, [[0]]) == ["#####.######"]


def test_labels_that_do_not_exclude_each_other_may_overlap():
    told = marked(marks=[(3, 0), (6, 1)])
    assert decoded(told, above("-++++++++---", "----+++++---"), [[0], [1]]) == [".########...", "....#####..."]


def test_of_labels_that_exclude_each_other_one_ends_before_the_other_begins():
    """In rows 5 to 7 the second has more, in rows 3 and 4 the first."""
    scores = above("-+++++++----", "---.++++++--")
    scores[5:8, 1], scores[4, 1] = 2.0, 0.5
    assert decoded(marked(marks=[(2, 0), (8, 1)]), scores, [[0, 1]]) == [".####.......", ".....#####.."]
    apart = above("-+++--------", "-------+++--")
    assert decoded(marked(marks=[(2, 0), (8, 1)]), apart, [[0, 1]]) == [".###........", ".......###.."]


def test_in_a_group_without_gaps_one_begins_where_the_other_ends():
    """Rows 4 to 6 are below both thresholds, row 4 less for the first; the ends of the track are filled."""
    scores = above("-+++.-------", "-----..+++--")
    assert decoded(marked(marks=[(2, 0), (8, 1)]), scores, [[0, 1]], [True]) == ["#####.......", ".....#######"]


def test_also_in_a_group_without_gaps_two_marks_of_a_label_are_apart():
    scores = above("-+++-++++++-")
    assert decoded(marked(marks=[(2, 0), (8, 0)], labels=1), scores, [[0]], [True]) == ["####.#######"]


def test_a_drawn_region_stays_and_bounds_what_excludes_it():
    told = marked(marks=[(2, 0), (10, 1)], drawn=[(5, 8, 1)])
    assert decoded(told, above("++++++++++++", "++++++++++++"), [[0, 1]]) == ["#####.......", ".....###.###"]


cells = st.tuples(st.integers(0, ROWS - 1), st.integers(0, 2))
spans = st.tuples(st.integers(0, ROWS - 2), st.integers(2, 5), st.integers(0, 2)).map(
    lambda span: (span[0], min(span[0] + span[1], ROWS), span[2])
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(cells, max_size=6),
    st.lists(spans, max_size=2),
    st.lists(st.lists(st.floats(-1, 1, width=16), min_size=3, max_size=3), min_size=ROWS, max_size=ROWS),
    st.sampled_from([[[0], [1], [2]], [[0, 1, 2]], [[0, 2], [1]]]),
    st.booleans(),
)
def test_each_interval_is_a_drawn_region_or_has_one_mark(marks, drawn, scores, groups, full):
    told = marked(marks=marks, drawn=drawn, labels=3)
    on = points._decoded(told, np.array(scores), groups, [full and len(group) > 1 for group in groups])
    fixed = told.marks | told.drawn
    assert on[fixed].all()
    for column in range(3):
        before = {tuple(span) for span in runs(fixed[:, column])}
        for start, stop in runs(on[:, column]):
            inside = [span for span in before if start <= span[0] and span[1] <= stop]
            assert len(inside) == 1
            if not told.marks[start:stop, column].any():
                assert (start, stop) == inside[0]
    for group in groups:  # no more overlap than was told
        assert ((on[:, group].sum(axis=1) <= 1) | (fixed[:, group].sum(axis=1) > 1) | (on == fixed)[:, group].all(axis=1)).all()


# Which labels exclude each other, and which are of an instant.


def test_labels_exclude_each_other_if_hardly_a_mark_lies_in_intervals_of_the_other():
    """Two labels take turns; a third is anywhere, so that by chance half of its marks lie in each of them."""
    on = np.zeros((400, 3), dtype=bool)
    on[:, 0], on[:, 1] = np.arange(400) % 40 < 20, np.arange(400) % 40 >= 20
    on[5::13, 2] = True
    told = marked(labels=3, rows=400)
    told.marks[10::40, 0] = told.marks[30::40, 1] = told.marks[5::13, 2] = True
    doubted = points._exclusion([on], [told])
    assert doubted[0, 1] > 0 > max(doubted[0, 2], doubted[1, 2])
    assert grouped(doubted) == [[0, 1], [2]]


def test_a_label_of_an_instant_is_one_whose_score_falls_off_at_once():
    """5 rows are 0.2 s."""
    told = marked(marks=[(6, 0), (6, 1)], rows=13)
    scores = np.zeros((13, 2))
    scores[4:9, 0], scores[3:9, 1] = 0.6, 0.6
    scores[6] = 1.0
    assert points._instants([told], [scores]) == [0]
    assert points._extent(scores[:, 1], 6) == 6


def test_the_shorter_side_of_an_end_says_how_much_is_uncertain():
    """8 rows that are on, and 16 and 20 that are not: 2 on either side of both ends."""
    told = marked(marks=[(20, 0)], labels=1, rows=44)
    on = np.zeros((44, 1), dtype=bool)
    on[16:24] = True
    certain = points._certain(on, told)[:, 0]
    assert np.flatnonzero(~certain).tolist() == [14, 15, 16, 17, 22, 23, 24, 25]


# Films whose truth is known because they were made up.

TURNS = [[(0, 3), (5, 9), (11, 14)], [(3, 5), (9, 11)]]


def turns(number, seed=0):
    """Plans in which one label or the other is on at any time."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        a, b, c, d = (float(x) for x in (rng.uniform(2, 4), rng.uniform(4.8, 6.5), rng.uniform(8, 10), rng.uniform(11, 12.5)))
        yield [[(0, a), (b, c), (d, 14)], [(a, b), (c, d)]]


def in_points(seed, plan, rng):
    """A labelled film of which one frame in the middle half of each occurrence is marked."""
    video = labelled(seed, plan)
    marks = np.zeros(video.frame_labels.shape, dtype=bool)
    for column in range(marks.shape[1]):
        for start, stop in runs(video.frame_labels[:, column]):
            marks[round(start + (stop - 1 - start) * rng.uniform(0.25, 0.75)), column] = True
    return replace(video, frame_labels=marks.astype(np.uint8), points=marks)


def resolved(videos):
    basis = fit_basis([v.rows for v in videos])
    return points.with_ends([basis.tracks(v)[0] for v in videos], [v.points for v in videos])


@pytest.fixture(scope="module", params=["turns", "with gaps"])
def both(request):
    """The same films with full marks and with points."""
    own = list(turns(4) if request.param == "turns" else plans(4))
    rng = np.random.default_rng(1)
    return [labelled(s, p) for s, p in enumerate(own)], [in_points(s, p, rng) for s, p in enumerate(own)]


def test_intervals_that_are_found_are_nearly_those_that_were_shown(both):
    full, few = both
    for track, video in zip(resolved(few), full, strict=True):
        on = track.frame_labels.numpy() > 0
        assert (on == video.frame_labels).mean() > 0.93
        assert [len(runs(c)) for c in on.T] == [len(runs(c)) for c in video.frame_labels.T]


def test_what_is_learned_from_points_is_nearly_what_is_learned_from_full_marks(both):
    plan = [[(1, 4)], [(8, 10.5)]]
    other, truth = film(99, plan)
    by_full, by_points = (learn_thoroughly(videos, LABELS, quiet).classifier.predict(other) >= 0.5 for videos in both)
    right = [(found == truth).mean() for found in (by_full, by_points)]
    assert right[1] > 0.9 * right[0]


def test_quality_is_measured_by_the_intervals_that_were_found(both):
    full, few = both
    thorough = learn_thoroughly(few, LABELS, quiet)
    assert thorough.quality.mean["f1"] > 0.8
    for found, video, on in zip(thorough.truth, few, full, strict=True):
        assert found.sum() > 10 * video.frame_labels.sum()
        assert (found == on.frame_labels).mean() > 0.93


def test_regions_that_were_drawn_stay_as_they_are_beside_points():
    rng = np.random.default_rng(2)
    own = list(turns(3))
    drawn = labelled(0, own[0])
    some = in_points(1, own[1], rng)
    start, stop = runs(truth_of(own[1], 14.0, 25.0)[:, 0])[1]
    on = some.frame_labels.copy()
    on[start:stop, 0] = 1
    marks = some.points.copy()
    marks[start:stop, 0] = False
    mixed = replace(some, frame_labels=on, points=marks)
    found = resolved([replace(drawn, points=None), mixed, in_points(2, own[2], rng)])
    np.testing.assert_array_equal(found[0].frame_labels.numpy(), drawn.frame_labels)
    assert [start, stop] in runs(found[1].frame_labels.numpy()[:, 0]).tolist()


def test_without_points_nothing_changes():
    video = labelled(1)
    (track,) = resolved([video])
    np.testing.assert_array_equal(track.frame_labels.numpy(), video.frame_labels)


@pytest.mark.parametrize("marks", [[(100, 0)], [(100, 0), (101, 0)], [(0, 0), (349, 1)]])
def test_one_video_with_few_marks_is_learned_from(marks):
    rows, truth = film(1)
    on = np.zeros(truth.shape, dtype=bool)
    for row, column in marks:
        on[row, column] = True
    video = LabelledVideo(rows, on.astype(np.uint8), np.ones(on.shape, dtype=bool), 1, on)
    (track,) = resolved([video])
    assert (track.frame_labels.numpy()[on] == 1).all()
    assert np.isfinite(learn_quickly([video], LABELS, None).predict(rows)).all()
