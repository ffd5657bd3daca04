"""Two versions on the videos that both left out, and the note that a version is worse."""

import itertools
import math

import numpy as np
import pytest

from framewise.core.errors import ModelError
from framewise.learning.comparison import compare, leads
from framewise.learning.held_out import FILE, HeldOut, HeldOutVideo, write_held_out
from framewise.learning.quality import counts_by_video

SEGMENTS, LENGTH = 4, 10  # of a video: each segment is on in the first half of its own tenth of a second


def video(task, *found, labels=1, rate=100.0, taught=True, truth=SEGMENTS):
    """A video whose first ``truth`` of four segments are annotated, and that has the segments found by their numbers; the same
    for each of its labels."""
    on, scores = np.zeros((SEGMENTS * LENGTH, labels)), np.zeros((SEGMENTS * LENGTH, labels))
    for number in range(SEGMENTS):
        inside = slice(number * LENGTH, number * LENGTH + LENGTH // 2)
        on[inside] = number < truth
        scores[inside] = number in found
    return HeldOutVideo.of(task, rate, scores, on, np.full(on.shape, taught))


@pytest.fixture
def compared(tmp_path):
    """Compares two lists of videos, the later ones with what was written of the earlier ones."""
    folders = (tmp_path / str(number) for number in itertools.count())

    def compare_them(new, old, labels=("Walk",), old_labels=None, groups=None):
        folder = next(folders)
        folder.mkdir()
        write_held_out(folder, old, old_labels or labels)
        return compare(new, labels, groups or [v.task for v in new], HeldOut(folder))

    return compare_them


def perfect(*tasks):
    return [video(task, 0, 1, 2, 3) for task in tasks]


def test_a_version_that_finds_clearly_less_in_the_same_videos_is_worse(compared):
    new = [video(task, 0) for task in range(1, 7)]
    found = compared(new, perfect(1, 2, 3, 4, 5, 6))
    # One segment of four: 2 / (2 + 3)
    assert (found.videos, found.now, found.then) == (6, pytest.approx(0.4), 1.0)
    assert found.is_worse
    assert found.interval[0] < 0.4 - 1.0 < found.interval[1] < 0
    assert not compared(perfect(1, 2, 3, 4, 5, 6), new).is_worse


def test_a_version_that_loses_here_and_gains_there_is_not_worse(compared):
    """In four videos a segment is missed that was found before, in two it is the other way round: F1 0.91, and 0.96 before."""
    old = [*perfect(1, 2, 3, 4), video(5, 0, 1, 2), video(6, 0, 1, 2)]
    new = [*(video(task, 0, 1, 2) for task in (1, 2, 3)), video(4, 0, 1, 2), *perfect(5, 6)]
    found = compared(new, old)
    assert found.now < found.then
    assert not found.is_worse


def test_a_version_that_was_measured_on_other_videos_is_not_compared(compared):
    found = compared([video(task) for task in (7, 8, 9)], perfect(1, 2, 3))
    assert (found.videos, found.is_worse) == (0, False)


def test_harder_videos_that_were_added_do_not_make_a_version_worse(compared):
    found = compared([*perfect(1, 2, 3), *(video(task) for task in (4, 5, 6))], perfect(1, 2, 3))
    assert (found.videos, found.now, found.then, found.is_worse) == (3, 1.0, 1.0, False)


def test_easy_videos_whose_annotations_were_deleted_do_not_make_a_version_worse(compared):
    hard = [video(task, 0) for task in (4, 5, 6)]
    found = compared(hard, [*perfect(1, 2, 3), *hard])
    assert (found.videos, found.now, found.then, found.is_worse) == (3, pytest.approx(0.4), pytest.approx(0.4), False)


def test_both_are_compared_with_what_is_annotated_now(compared):
    """Two of the four segments were taken away in all videos: to find the others alone is right now, and was wrong before."""
    new = [video(task, 0, 1, truth=2) for task in range(1, 7)]
    found = compared(new, perfect(1, 2, 3, 4, 5, 6))
    assert (found.now, found.then, found.is_worse) == (1.0, pytest.approx(2 / 3), False)


def test_two_videos_are_too_few_and_so_are_four_tasks_with_two_files(compared):
    nothing = [video(task) for task in (1, 2, 3, 4)]
    two = compared(nothing[:2], perfect(1, 2))
    copies = compared(nothing, perfect(1, 2, 3, 4), groups=["a", "a", "b", "b"])
    assert [two.videos, copies.videos] == [2, 2]
    assert not two.is_worse
    assert not copies.is_worse
    assert math.isnan(copies.interval[1])
    assert compared(nothing, perfect(1, 2, 3, 4)).is_worse


def test_videos_with_other_frames_than_before_are_left_out(compared):
    new = [video(1), video(2, rate=25.0), *(video(task) for task in (3, 4))]
    longer = HeldOutVideo.of(1, 100.0, np.ones((50, 1)), np.ones((50, 1)), np.ones((50, 1), bool))
    assert compared(new, [longer, *perfect(2, 3, 4)]).videos == 2


def test_labels_are_compared_by_name_and_only_those_that_both_versions_know(compared):
    new = [video(task, 0, 1, 2, 3, labels=2) for task in (1, 2, 3)]
    for scored in new:
        scored.scores[:, 0] = 0
    old = [video(task, 0, 1, 2, 3, labels=3) for task in (1, 2, 3)]
    for scored in old:
        scored.scores[:, 2] = 0
    found = compared(new, old, ("Sit", "Walk"), ("Walk", "Run", "Sit"))
    assert (found.now, found.then) == (0.5, 0.5)
    assert compared(new, old, ("Fly", "Walk"), ("Walk", "Run", "Sit")).now == 1.0
    none = compared(new, old, ("Fly", "Swim"), ("Walk", "Run", "Sit"))
    assert math.isnan(none.now)
    assert not none.is_worse


def test_a_label_of_which_an_annotation_says_nothing_counts_nowhere(compared):
    new = [video(task, taught=False) for task in (1, 2, 3)]
    assert not compared(new, perfect(1, 2, 3)).is_worse


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    write_held_out(tmp_path, perfect(1, 2, 3), ["Walk"])
    old = HeldOut(tmp_path)
    (tmp_path / FILE).write_bytes(b"no numbers")
    with pytest.raises(ModelError):
        compare(perfect(1, 2, 3), ["Walk"], [1, 2, 3], old)


def counts_of(*videos):
    """Counts of the videos of one learner."""
    numbers = range(len(videos))
    return counts_by_video([v.truth for v in videos], [v.predicted for v in videos], [v.known for v in videos], numbers, 1)


def test_the_best_of_several_leads_those_that_find_clearly_less():
    half = [video(task, 0, 1) for task in range(6)]
    little, most = [video(task, 0) for task in range(6)], [*perfect(*range(5)), video(5, 0, 1, 2)]
    best, found = leads({"half": counts_of(*half), "most": counts_of(*most), "little": counts_of(*little)}, weak=False)
    assert best == "most"
    assert list(found) == ["half", "little"]
    # Of 24 segments, most finds 23: 46 / 47; half finds 12: 24 / 36.
    assert found["half"].difference == pytest.approx(46 / 47 - 24 / 36)
    assert found["half"].interval[0] < found["half"].difference < found["half"].interval[1]
    assert found["half"].is_clear
    assert found["little"].is_clear


def test_equal_learners_cannot_be_told_apart_nor_any_by_few_or_known_videos():
    one = counts_of(*perfect(*range(5)), video(5, 0, 1, 2))
    other = counts_of(video(0, 0, 1, 2), *perfect(*range(1, 6)))
    _, found = leads({"one": one, "other": other}, weak=False)
    assert found["other"].difference == 0
    assert not found["other"].is_clear
    much, little = counts_of(*perfect(*range(6))), counts_of(*(video(task) for task in range(6)))
    assert leads({"much": much, "little": little}, weak=False)[1]["little"].is_clear
    assert not leads({"much": much, "little": little}, weak=True)[1]["little"].is_clear
    assert not leads({"much": much[:2], "little": little[:2]}, weak=False)[1]["little"].is_clear
