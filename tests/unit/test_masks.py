"""Unknown cells and rows: cells without an annotation, and rows between the pieces of a recording, teach nothing."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from framewise.learning import auto
from framewise.learning.auto import learn_quickly, learn_thoroughly
from framewise.learning.held_out import FILE, HeldOut, HeldOutTask, HeldOutVideo, write_held_out
from framewise.learning.tracks import LabelledVideo
from tests.film_help import LABELS, all_known, film, labelled, plans, quiet

pytestmark = pytest.mark.usefixtures("one_thread")


# Unknown cells.

BEFORE = 0.4  # of a film, which is annotated
EARLY_AND_LATE = [[(1, 2.5), (7, 13)], [(3, 4.5), (6, 7), (13, 14)]]


def begun(seed, rest_is_known):
    """A film of which the beginning is annotated; labels occur in the rest as well."""
    rows, truth = film(seed, EARLY_AND_LATE)
    annotated = int(BEFORE * len(rows))
    truth[annotated:] = 0
    known = np.ones(truth.shape, dtype=bool)
    known[annotated:] = rest_is_known
    return LabelledVideo(rows, truth, known, seed)


@pytest.mark.parametrize("learn", ["quickly", "thoroughly"])
def test_labels_of_films_that_are_annotated_in_part_are_found_in_another(learn):
    """Were the rest off, most of what looks like a label would say that it is off."""

    def found(rest_is_known):
        videos = [begun(seed, rest_is_known) for seed in range(3)]
        if learn == "quickly":
            classifier = learn_quickly(videos, LABELS, None)
        else:
            classifier = learn_thoroughly(videos, LABELS, quiet).classifier
        rows, truth = film(9)
        on = classifier.predict(rows) >= 0.5
        return (on & (truth == 1)).sum(axis=0) / truth.sum(axis=0), (on == truth).mean(axis=0)

    recall, right = found(rest_is_known=False)
    assert recall.min() > 0.95
    assert right.min() > 0.9
    assert found(rest_is_known=True)[0].min() < 0.5


def in_part(seed, plan, instants=False):
    """Known here and there, of each label in other rows."""
    rows, truth = film(seed, plan)
    if instants:
        truth[:, 1] = 0
        truth[[60, 130, 260], 1] = 1
    known = all_known(truth)
    known[:50, 0] = known[200:240, 0] = known[120:150, 1] = known[300:, 1] = False
    return LabelledVideo(rows, truth, known, seed)


def with_other_numbers_where_unknown(video, others):
    labels = np.where(video.known, video.frame_labels, others(video)).astype(np.uint8)
    return replace(video, frame_labels=labels)


OTHERS = {
    "off": lambda video: np.zeros_like(video.frame_labels),
    "on": lambda video: np.ones_like(video.frame_labels),
    "random": lambda video: np.random.default_rng(video.group).integers(0, 2, video.frame_labels.shape),
}


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("instants", [False, True])
def test_what_unknown_cells_hold_changes_nothing(others, instants):
    videos = [in_part(seed, plan, instants) for seed, plan in enumerate(plans(3))]
    changed = [with_other_numbers_where_unknown(video, OTHERS[others]) for video in videos]
    same, other = (learn_thoroughly(v, LABELS, quiet) for v in (videos, changed))
    new, _ = film(9)
    np.testing.assert_array_equal(same.classifier.predict(new), other.classifier.predict(new))
    assert same.quality.to_json() == other.quality.to_json()
    assert same.explained == other.explained
    assert sorted(same.classifier.instants) == ([1] if instants else [])
    quickly = [learn_quickly(v, LABELS, None).predict(new) for v in (videos, changed)]
    np.testing.assert_array_equal(*quickly)


def test_a_label_that_is_known_in_one_video_alone_is_alone_whatever_the_others_hold():
    """So its out-of-fold scores say nothing, and it is decided as supposed."""
    videos = [labelled(seed, plan, taught=(True, seed == 0)) for seed, plan in enumerate(plans(3))]
    for others in OTHERS.values():
        changed = [with_other_numbers_where_unknown(video, others) for video in videos]
        assert auto._TrainingSet(changed).folds().unmeasured == {1}


def test_unknown_cells_count_neither_as_found_nor_as_missed():
    """Run is known in the first six seconds of each film, where it is once in one of two films, and is on later as well."""
    videos = []
    for seed, plan in enumerate(plans(4)):
        rows, truth = film(seed, [plan[0], [(2, 4)] if seed % 2 else []])
        known = all_known(truth)
        known[150:, 1] = False
        truth[200:300, 1] = 1
        videos.append(LabelledVideo(rows, truth, known, seed))
    told = learn_thoroughly(videos, LABELS, quiet).quality.to_json()["labels"]["Run"]
    assert (told["true_segments"], told["true_videos"]) == (2, 2)
    assert told["recall"] > 0.8
    assert told["precision"] > 0.8


# Held-out predictions of what is known in part.

TRUTH = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]], dtype=np.uint8)
SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.1, 0.7], [0.3, 0.5]])
PARTLY = np.array([[True, False], [True, False], [False, False], [True, True], [True, True]])


def read(folder):
    held_out = HeldOut(folder)
    return {video.task: video for video in held_out.videos(held_out.tasks)}


def test_held_out_predictions_keep_in_which_rows_labels_are_known(tmp_path):
    everywhere, one_label = np.ones_like(PARTLY), np.tile([True, False], (5, 1))
    masks = {1: PARTLY, 2: everywhere, 3: one_label, 4: np.zeros_like(PARTLY)}
    videos = [HeldOutVideo.of(task, 2.0, SCORES, TRUTH, known) for task, known in masks.items()]
    write_held_out(tmp_path, videos, LABELS)
    for task, video in read(tmp_path).items():
        np.testing.assert_array_equal(video.known, masks[task])
        np.testing.assert_array_equal(video.truth, TRUTH)
        np.testing.assert_array_equal(video.predicted, SCORES >= 0.5)
    assert [name for name in load_file(tmp_path / FILE) if name.startswith("known")] == ["known.1"]


def test_unknown_cells_are_no_disagreement():
    """Row 1 of the first label and row 4 of the second differ, of six known cells."""
    video = HeldOutVideo.of(1, 2.0, SCORES, TRUTH, PARTLY)
    assert asdict(video.summary(LABELS)) == {
        "task": 1,
        "frames": 5,
        "frame_rate": 2.0,
        "disagreement": round(2 / 6, 6),
        "places": 2,
        "taught": LABELS,
    }
    assert video.places(0).tolist() == [[1, 2]]
    assert video.places(1).tolist() == [[4, 5]]
    assert HeldOutVideo.of(1, 2.0, SCORES, TRUTH, np.zeros_like(PARTLY)).summary(LABELS).taught == []


def test_a_file_of_an_earlier_version_is_known_everywhere_of_the_labels_that_were_taught(tmp_path):
    tensors = {
        f"{name}.{task}": array
        for task in (1, 2)
        for name, array in (("scores", np.rint(255 * SCORES).astype(np.uint8)), ("truth", np.packbits(TRUTH, axis=0)))
    }
    tasks = [asdict(HeldOutTask(1, 5, 2.0, 0.4, 1, LABELS)), asdict(HeldOutTask(2, 5, 2.0, 0.2, 1, ["Run"]))]
    (tmp_path / FILE).write_bytes(save(tensors, {"about": json.dumps({"labels": LABELS, "tasks": tasks})}))
    videos = read(tmp_path)
    assert videos[1].known.tolist() == [[True, True]] * 5
    assert videos[2].known.tolist() == [[False, True]] * 5
    np.testing.assert_array_equal(videos[2].truth, TRUTH)


# Recordings in pieces.


class InPieces:
    """Rows of two films with a hole between them, which must not be read."""

    counts = None

    def __init__(self, first, second, hole):
        self.frame_rate = first.frame_rate
        self._parts = [(0, first), (len(first) + hole, second)]
        self.pieces = [(start, start + len(film)) for start, film in self._parts]

    def __len__(self):
        return self.pieces[-1][1]

    def read(self, index):
        inside = [(index >= start) & (index < stop) for start, stop in self.pieces]
        assert np.logical_or(*inside).all(), f"rows {index[~np.logical_or(*inside)]} lie in the hole"
        read = [film.read(index[own] - start) for own, (start, film) in zip(inside, self._parts, strict=True)]
        return tuple(np.concatenate(numbers) for numbers in zip(*read, strict=True))


def stretched(first, second, hole):
    """Truth of both films, and between them on, as of regions that were drawn over the hole."""
    return np.concatenate([first, np.ones((hole, first.shape[1]), first.dtype), second])


def recording(seed, two_plans, hole):
    (first, truth), (second, second_truth) = (film(seed + k, plan) for k, plan in zip((0, 100), two_plans, strict=True))
    rows, labels = InPieces(first, second, hole), stretched(truth, second_truth, hole)
    return LabelledVideo(rows, labels, all_known(labels), seed), [first, second]


HOLE = 10_000_000


def test_what_two_pieces_show_is_learned_and_found_as_in_two_recordings():
    one, two = list(plans(2))
    video, films = recording(1, (one, two), HOLE)
    apart = [
        LabelledVideo(rows, truth := video.frame_labels[start:stop], all_known(truth), 1)
        for rows, (start, stop) in zip(films, video.rows.pieces, strict=True)
    ]
    new, (first, second) = recording(5, (two, one), HOLE)
    classifier, of_two = learn_quickly([video], LABELS, None), learn_quickly(apart, LABELS, None)
    scores = classifier.predict(new.rows)
    (_, stop), (start, _) = new.rows.pieces
    for part, rows in ((scores[:stop], first), (scores[start:], second)):
        np.testing.assert_array_equal(part, classifier.predict(rows))
        np.testing.assert_array_equal(part, of_two.predict(rows))
    assert not scores[stop:start].any()
    assert ((scores[:stop] >= 0.5) == new.frame_labels[:stop]).mean() > 0.95


def test_the_length_of_a_hole_changes_no_quality():
    """A video is held out with both of its pieces, and the hole counts nowhere, though labels are said to be on in it."""
    both_plans = list(zip(plans(3), plans(3, seed=1), strict=True))
    short, long = (
        learn_thoroughly([recording(seed, both, hole)[0] for seed, both in enumerate(both_plans)], LABELS, quiet)
        for hole in (1, 100_000)
    )
    assert short.quality.to_json() == long.quality.to_json()
    assert (short.quality.videos, short.quality.method) == (3, "leave one video out")
    assert short.quality.mean["f1"] > 0.9
    new, _ = film(9)
    np.testing.assert_array_equal(short.classifier.predict(new), long.classifier.predict(new))
    for scores in long.held_out:
        assert len(scores) == 700 + 100_000
        assert not scores[350:-350].any()
