"""Videos divided into sides to learn from and to test on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.learning.folds import BLOCKS, Fold, Piece, block_folds, make_folds, unseen_labels, video_folds


def videos(*texts):
    """A video each: texts of 0 and 1, one a label, separated by spaces."""
    return [np.array([[int(c) for c in label] for label in text.split()], dtype=np.uint8).T for text in texts]


def folds_of(frame_labels, groups=None, gap_rows=0):
    return make_folds([len(y) for y in frame_labels], frame_labels, groups, gap_rows)


def marked(num_videos, *videos_of_labels, frames=10):
    """Videos of some frames, with one frame of a label in each of the videos named for it."""
    made = [np.zeros((frames, len(videos_of_labels)), dtype=np.uint8) for _ in range(num_videos)]
    for label, having in enumerate(videos_of_labels):
        for video in having:
            made[video][0, label] = 1
    return made


def rows(pieces):
    return {(p.video, row) for p in pieces for row in range(p.start, p.stop)}


@st.composite
def annotated(draw):
    """(frame labels, groups, gap) of up to 14 videos of up to 12 rows."""
    number, num_labels = draw(st.integers(0, 14)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    lengths = draw(st.lists(st.integers(0, 12), min_size=number, max_size=number))
    groups = draw(st.none() | st.lists(st.integers(0, number), min_size=number, max_size=number))
    share = draw(st.sampled_from([0.05, 0.3, 0.9]))
    frame_labels = [(random.random((length, num_labels)) < share).astype(np.uint8) for length in lengths]
    return frame_labels, groups, draw(st.integers(0, 5))


def test_of_three_to_five_videos_one_is_left_out_at_a_time():
    for number in (3, 4, 5):
        folds = folds_of(marked(number, range(number)))

        assert folds.method == "leave one video out"
        assert not folds.weak
        assert [fold.test for fold in folds.folds] == [[Piece(video, 0, 10)] for video in range(number)]
        assert folds.folds[1].train == [Piece(video, 0, 10) for video in range(number) if video != 1]
        assert folds.learned == pytest.approx((number - 1) / number)


def test_of_more_videos_a_fifth_is_left_out_at_a_time():
    folds = folds_of(marked(20, range(20)))

    assert folds.method == "5-fold by video"
    assert [len(fold.test) for fold in folds.folds] == [4] * 5
    assert [len(fold.train) for fold in folds.folds] == [16] * 5


def test_videos_of_one_file_are_left_out_together():
    folds = folds_of(marked(5, range(5)), groups=["a", "b", "a", "c", "b"])

    assert folds.method == "leave one video out"
    assert [[p.video for p in fold.test] for fold in folds.folds] == [[0, 2], [1, 4], [3]]


def test_fewer_than_three_files_are_cut_in_time_however_many_tasks_there_are():
    folds = folds_of(marked(6, range(6)), groups=["a", "b"] * 3)

    assert folds.method == "blocks in time"
    assert folds.weak


def test_a_label_of_two_videos_can_always_be_learned():
    # Six rare labels, each in two of twelve videos that have all of a common label.
    rare = [(0, 1), (1, 2), (2, 3), (0, 3), (10, 11), (5, 11)]
    folds = folds_of(marked(12, range(12), *rare))

    assert folds.unseen == [set()] * 5


def test_a_rare_label_is_parted_also_where_another_fold_would_be_fuller():
    # Three labels in two of six videos each. By frames alone, the last of the short videos would join the other short one.
    short, first, second = "1 0 0 1", "11 10 00 00", "11 00 10 00"

    assert folds_of(videos(short, first, short, second, first, second)).unseen == [set()] * 5


def test_a_label_of_one_video_is_noted_as_unseen_where_that_is_tested():
    folds = folds_of(marked(4, range(4), [2]))

    assert folds.unseen == [set(), set(), {1}, set()]


def test_the_frames_of_a_label_are_spread_over_the_folds():
    # Ten videos; five have much of the label, whatever their place.
    frame_labels = videos(*["1" * 9 + "0"] * 5, *["1" + "0" * 9] * 5)

    tests = [test for _, test in video_folds(frame_labels)]

    assert [sum(int(frame_labels[v].sum()) for v in test) for test in tests] == [10] * 5


def test_one_long_video_leaves_no_fold_empty():
    tests = [test for _, test in video_folds(videos("1" * 500, *["1"] * 5))]

    assert sorted(len(test) for test in tests) == [1, 1, 1, 1, 2]


def test_folds_by_video_need_two_files():
    with pytest.raises(ValueError, match="at least 2 groups, found 1"):
        video_folds(marked(2, [0]), ["a", "a"])


def test_blocks_in_time_by_hand():
    # 16 rows: blocks of 4, gap 1 on either side
    assert block_folds([16], 1) == [
        Fold([Piece(0, 5, 16)], [Piece(0, 0, 4)]),
        Fold([Piece(0, 0, 3), Piece(0, 9, 16)], [Piece(0, 4, 8)]),
        Fold([Piece(0, 0, 7), Piece(0, 13, 16)], [Piece(0, 8, 12)]),
        Fold([Piece(0, 0, 11)], [Piece(0, 12, 16)]),
    ]


def test_a_gap_longer_than_the_video_leaves_half_of_it_to_learn_from():
    for fold in block_folds([160], 1000):
        assert len(rows(fold.train)) >= 80


def test_blocks_of_two_videos_are_held_out_at_the_same_time():
    second = block_folds([8, 4], 0)[1]

    assert second.test == [Piece(0, 2, 4), Piece(1, 1, 2)]
    assert second.train == [Piece(0, 0, 2), Piece(0, 4, 8), Piece(1, 0, 1), Piece(1, 2, 4)]


def test_blocks_are_of_a_recording_not_of_its_stretches():
    # A recording of 6 and 2 rows around a pause, and a whole one of 8: blocks of 2 rows of each.
    of_stretches, of_whole = block_folds([6, 2, 8], 1, [0, 0, 1]), block_folds([8, 8], 1)
    starts = [0, 6]

    for stretched, whole in zip(of_stretches, of_whole, strict=True):
        for side in ("train", "test"):
            placed = {(0, starts[v] + row) if v < 2 else (1, row) for v, row in rows(getattr(stretched, side))}
            assert placed == set(rows(getattr(whole, side)))


def test_a_label_of_one_block_is_unseen_when_that_is_tested():
    folds = folds_of(videos("0000111100000000", "0000111100000000"))

    assert folds.unseen == [set(), {0}, set(), set()]


def test_pieces_of_one_recording_are_not_scored():
    assert folds_of(videos("0000111100000000")).folds == []
    assert folds_of(videos("00001111", "00001111"), groups=["a", "a"]).folds == []


def test_one_row_cannot_be_divided():
    assert folds_of(videos("1")).folds == []
    assert folds_of([]).folds == []


@settings(deadline=None)
@given(annotated())
def test_every_row_is_tested_once_and_never_learned_from_there(case):
    frame_labels, groups, gap_rows = case
    folds = folds_of(frame_labels, groups, gap_rows)
    by_video = {(v, row) for v, y in enumerate(frame_labels) for row in range(len(y))}
    tested = [row for fold in folds.folds for row in rows(fold.test)]

    if folds.folds:
        assert sorted(tested) == sorted(by_video)
    else:
        names = range(len(frame_labels)) if groups is None else groups
        of_some = {name for name, y in zip(names, frame_labels, strict=True) if len(y)}
        assert len(of_some) < 2 or max(len(y) for y in frame_labels) < 2
    for fold in folds.folds:
        assert fold.train
        assert fold.test
        assert not rows(fold.train) & rows(fold.test)
        assert all(piece.start < piece.stop for piece in fold.train + fold.test)


@settings(deadline=None)
@given(annotated())
def test_one_file_is_never_on_both_sides_of_a_fold_by_video(case):
    frame_labels, groups, gap_rows = case
    folds = folds_of(frame_labels, groups, gap_rows)
    names = list(range(len(frame_labels))) if groups is None else groups

    assert len(folds.folds) <= max(BLOCKS, 5)
    assert len(folds.unseen) == len(folds.folds)
    for fold, unseen in zip(folds.folds, folds.unseen, strict=True):
        if not folds.weak:
            assert not {names[p.video] for p in fold.train} & {names[p.video] for p in fold.test}
        assert unseen == unseen_labels(fold, frame_labels)


@settings(deadline=None)
@given(st.integers(6, 20), st.integers(0, 2**32))
def test_a_rare_label_is_in_two_folds(number, seed):
    random = np.random.default_rng(seed)
    frame_labels = marked(number, range(number), random.permutation(number)[:2], random.permutation(number)[:3])
    for y in frame_labels:
        y[: random.integers(1, 11), 0] = 1

    assert folds_of(frame_labels).unseen == [set()] * 5


def test_folds_are_the_same_each_time():
    random = np.random.default_rng(3)
    frame_labels = [(random.random((random.integers(1, 50), 3)) < 0.2).astype(np.uint8) for _ in range(17)]

    assert folds_of(frame_labels) == folds_of(frame_labels)
