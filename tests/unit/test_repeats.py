"""Copies of what a fold holds out are not learned from either."""

import numpy as np
import pytest
import torch

from framewise.learning.folds import Fold, Folds, Piece, make_folds
from framewise.learning.repeats import without_repeats
from framewise.learning.tracks import Layout, Track

RATE = 25.0


def track(components, labels=None, moving=1.0, layout=None):
    """A video; with a motion of 0, a recording without pictures."""
    rows = len(components)
    frame_labels = torch.zeros(rows, 1) if labels is None else labels
    return Track(
        components, torch.full((rows, 32), moving), RATE, frame_labels, torch.ones_like(frame_labels, dtype=torch.bool), layout
    )


def recording(seed, seconds=20):
    """Components (T, 64) that change within seconds: no moment is as another one, or as one of another recording."""
    rng = np.random.default_rng(seed)
    moments = np.arange(round(seconds * RATE))[:, None] / RATE
    return torch.from_numpy(np.sin(rng.uniform(0.5, 2, 64) * moments + rng.uniform(0, 6, 64))).float()


def folds_of(tracks):
    labels = [t.frame_labels.numpy().astype(np.uint8) for t in tracks]
    return make_folds([len(t) for t in tracks], labels, None, 50)


def kept_of(folds, held_out, video):
    """Pieces of a video in the train side of the fold that holds another one out."""
    fold = next(f for f in folds.folds if [p.video for p in f.test] == [held_out])
    return [(p.start, p.stop) for p in fold.train if p.video == video]


@pytest.fixture
def cut_from():
    """Videos 0, 1 and 2 are of their own; 3 shows seconds 8 to 12 of video 0 between its seconds 5 and 9, a bit noisy."""
    originals = [track(recording(seed)) for seed in range(3)]
    film = recording(3)
    noise = torch.from_numpy(np.random.default_rng(9).normal(size=(100, 64))).float()
    film[125:225] = originals[0].components[200:300] + 0.05 * noise
    return [*originals, track(film)]


def test_what_repeats_a_held_out_video_is_left_out(cut_from):
    folds = without_repeats(folds_of(cut_from), cut_from)
    (first, second) = kept_of(folds, held_out=0, video=3)
    assert (first[0], second[1]) == (0, 500)
    # Half a second beside the repeat is left out as well; its ends are averages over both, so a few rows more or less.
    assert first[1] == pytest.approx(125 - 12, abs=8)
    assert second[0] == pytest.approx(225 + 12, abs=8)


def test_a_recording_loses_what_a_held_out_film_shows_of_it(cut_from):
    folds = without_repeats(folds_of(cut_from), cut_from)
    (first, second) = kept_of(folds, held_out=3, video=0)
    assert (first[1], second[0]) == (pytest.approx(188, abs=8), pytest.approx(312, abs=8))


def test_videos_that_repeat_nothing_stay_whole_and_so_do_all_test_sides(cut_from):
    before = folds_of(cut_from)
    after = without_repeats(before, cut_from)
    assert kept_of(after, held_out=0, video=1) == [(0, 500)]
    assert kept_of(after, held_out=1, video=0) == [(0, 500)]
    assert kept_of(after, held_out=1, video=3) == [(0, 500)]
    assert [fold.test for fold in after.folds] == [fold.test for fold in before.folds]
    assert (after.method, after.weak) == (before.method, before.weak)


def test_a_label_that_was_only_in_the_repeat_is_unseen_without_it(cut_from):
    on = torch.zeros(500, 1)
    on[220:280] = 1
    shifted = torch.zeros(500, 1)
    shifted[145:205] = 1
    labelled = [track(cut_from[0].components, on), *cut_from[1:3], track(cut_from[3].components, shifted)]
    before = folds_of(labelled)
    assert before.unseen == [set()] * 4
    assert without_repeats(before, labelled).unseen == [{0}, set(), set(), {0}]


def test_scraps_shorter_than_a_second_are_left_out_as_well():
    """All but 1.2 s of the second video repeat the first: of that half a second goes on its one side, as beside any repeat."""
    first, third = recording(0), recording(2)
    second = torch.cat([first[:470], recording(1)[:30]])
    tracks = [track(first), track(second), track(third)]
    assert kept_of(without_repeats(folds_of(tracks), tracks), held_out=0, video=1) == []


def test_where_everything_is_repeated_the_fold_stays_as_it_is():
    tracks = [track(recording(0)) for _ in range(3)]
    folds = folds_of(tracks)
    assert without_repeats(folds, tracks) == folds


def test_blocks_of_the_same_videos_are_left_as_they_are():
    tracks = [track(recording(0)), track(recording(0))]
    folds = folds_of(tracks)
    assert folds.weak
    assert without_repeats(folds, tracks) is folds
    nothing = Folds([], "blocks in time", True, [])
    assert without_repeats(nothing, []) is nothing


def test_at_a_high_frame_rate_whole_pieces_keep_their_last_row():
    """Every sixth row is compared at 60 frames a second; 1003 is no multiple of it."""
    long = [torch.cat([recording(s, 40), recording(s, 40)[:3]]) for s in range(3)]
    tracks = [Track(c, torch.ones(1003, 32), 60.0, torch.zeros(1003, 1), torch.ones(1, dtype=torch.bool)) for c in long]
    whole = [Piece(1, 0, 1003), Piece(2, 0, 1003)]
    assert without_repeats(folds_of(tracks), tracks).folds[0] == Fold(whole, [Piece(0, 0, 1003)])


def test_silence_and_a_sensor_that_lies_still_are_no_repeats():
    """They are the same in all recordings: what is left to learn from would be never without a label."""
    still = torch.zeros(250, 64)
    tracks = [track(torch.cat([still, recording(seed, 10)]), moving=0.0) for seed in range(3)]
    folds = folds_of(tracks)
    assert without_repeats(folds, tracks) is folds


def in_sync(pictures, sound=None):
    """The sound before the pictures, as in a group whose video is its second medium."""
    sound = torch.zeros(len(pictures), 40) if sound is None else sound
    return track(torch.cat([sound, pictures], 1), layout=Layout((40, 64), 1))


def test_of_media_in_sync_the_pictures_tell_a_repeat(cut_from):
    alone = without_repeats(folds_of(cut_from), cut_from)
    noise = torch.from_numpy(np.random.default_rng(5).normal(size=(4, 500, 40))).float()
    for sounds in (None, None, None, None), noise:
        tracks = [in_sync(t.components, sound) for t, sound in zip(cut_from, sounds, strict=True)]
        assert without_repeats(folds_of(tracks), tracks).folds == alone.folds


def test_a_task_without_its_video_neither_repeats_nor_is_repeated(cut_from):
    missing = torch.full((500, 64), torch.nan)
    tracks = [in_sync(pictures) for pictures in (cut_from[0].components, cut_from[3].components, missing, missing)]
    folds = without_repeats(folds_of(tracks), tracks)
    assert kept_of(folds, held_out=2, video=3) == kept_of(folds, held_out=2, video=0) == [(0, 500)]
    assert kept_of(folds, held_out=0, video=2) == [(0, 500)]
    assert len(kept_of(folds, held_out=0, video=1)) == 2
