"""Several media as one track: what one alone shows is found, a missing one is left out, and what is saved is read again."""

import numpy as np
import pytest
import torch

from framewise.core.errors import ModelError
from framewise.core.progress import silent
from framewise.learning.auto import AutoClassifier, learn_quickly, learn_thoroughly
from framewise.learning.joint import JointBasis, JointRows, fit_basis
from framewise.learning.models import check_model, load_model
from framewise.learning.tracks import Basis, LabelledVideo, Part

RATE, ROWS, MOTION = 25.0, 500, 44
LABELS = ["Seen", "Felt"]


class Numbers:
    """Rows of an array; nothing moves."""

    def __init__(self, numbers):
        self.frame_rate, self.counts = RATE, None
        self._numbers = numbers.astype(np.float32)

    def __len__(self):
        return len(self._numbers)

    def read(self, index):
        return self._numbers[index], np.zeros((len(index), MOTION), np.float32)


def recording(seed, without=None, rows=ROWS):
    """Seen is in the first medium, of 20 numbers, Felt in the second, of 6."""
    random = np.random.default_rng(seed)
    truth = np.zeros((rows, 2), np.uint8)
    for label in (0, 1):
        for start in random.integers(0, rows - 60, 4):
            truth[start : start + int(random.integers(25, 60)), label] = 1
    media = [random.normal(0, 1, (rows, size)) + 3 * truth[:, [n]] * (np.arange(size) < 3) for n, size in enumerate((20, 6))]
    parts = [None if n == without else Numbers(medium) for n, medium in enumerate(media)]
    return LabelledVideo(JointRows(parts, rows, RATE, 0), truth, np.ones(truth.shape, bool), seed)


def right(classifier, video):
    return ((classifier.predict(video.rows) >= 0.5) == video.frame_labels).mean(axis=0)


@pytest.fixture(scope="module")
def classifier():
    return learn_quickly([recording(seed) for seed in range(4)], LABELS, None)


def test_what_one_medium_alone_shows_is_found(classifier):
    assert right(classifier, recording(10)).min() > 0.9


@pytest.mark.parametrize(("without", "label"), [(0, "Felt"), (1, "Seen")])
def test_what_the_other_medium_shows_is_found_without_one(classifier, without, label):
    column = LABELS.index(label)
    scores = right(classifier, recording(11, without))
    assert scores[column] > 0.9
    assert scores[column] > scores[1 - column]
    assert np.isfinite(classifier.predict(recording(11, without).rows)).all()


def test_a_medium_that_no_annotated_task_has_is_not_used():
    classifier = learn_quickly([recording(seed, without=0) for seed in range(3)], LABELS, None)
    with_it, without_it = recording(12), recording(12, without=0)
    np.testing.assert_array_equal(classifier.predict(with_it.rows), classifier.predict(without_it.rows))
    assert right(classifier, with_it)[1] > 0.9


def test_tasks_with_and_without_a_medium_are_learned_together():
    videos = [recording(seed, without) for seed, without in enumerate([None, 0, 1, None])]
    assert right(learn_quickly(videos, LABELS, None), recording(13)).min() > 0.9


def test_all_of_the_learner_works_on_several_media(tmp_path):
    videos = [recording(seed, without, 300) for seed, without in enumerate([None, None, 0, None, 1])]
    classifier, quality, *_ = learn_thoroughly(videos, LABELS, silent)
    assert quality is not None
    new = recording(14)
    assert right(classifier, new).min() > 0.9
    classifier.save(tmp_path)
    check_model(tmp_path, videos[0].rows)
    again = load_model(tmp_path)
    assert isinstance(again, AutoClassifier)
    for video in (new, recording(15, without=0), recording(15, without=1)):
        np.testing.assert_allclose(again.predict(video.rows), classifier.predict(video.rows), atol=0.02)


def test_one_task_alone_has_a_medium():
    """So a fold that leaves it out learns without that medium, and scores a task that has it."""
    videos = [recording(seed, None if seed == 1 else 0, 300) for seed in range(3)]
    classifier, quality, *_ = learn_thoroughly(videos, LABELS, silent)
    assert quality is not None
    assert np.isfinite(classifier.predict(recording(16).rows)).all()
    assert right(classifier, recording(16))[1] > 0.9


def test_what_was_learned_of_several_media_is_not_used_on_one(classifier):
    with pytest.raises(ModelError, match="learned from 2 media that play in sync"):
        classifier.predict(Numbers(np.zeros((10, 20))))


def test_media_count_up_to_the_shortest_and_lie_side_by_side():
    long, short = Numbers(np.arange(40).reshape(20, 2)), Numbers(np.arange(30).reshape(10, 3))
    rows = JointRows([long, None, short], 10, RATE, 0)
    appearance, motion = rows.first(4).read(np.arange(4))
    assert (len(rows), appearance.shape, motion.shape) == (10, (4, 5), (4, MOTION))
    assert rows.read(np.array([9]))[0].tolist() == [[18, 19, 27, 28, 29]]
    assert JointRows([long, None, short], 10, RATE, 1).read(np.array([9]))[1] is None
    with pytest.raises(ValueError, match="at least one medium"):
        JointRows([None, None], 10, RATE, None)


def test_a_track_of_several_media_says_what_is_missing():
    basis = fit_basis([recording(seed).rows for seed in range(2)])
    assert isinstance(basis, JointBasis)
    track = basis.unlabelled(recording(3, without=0).rows, 2)
    seen = basis.layout.widths[0]
    assert torch.isnan(track.components[:, :seen]).all()
    assert torch.isfinite(track.components[:, seen:]).all()
    assert torch.isnan(track.motion).all()
    assert track.cut(0, 5).layout == basis.layout


def test_a_medium_by_itself_has_the_components_that_it_has_alone():
    """So a group changes nothing of how a medium is seen."""
    videos = [recording(seed).rows for seed in range(2)]
    joint, alone = fit_basis(videos), Basis.fit([v.parts[0] for v in videos])
    width = joint.layout.widths[0]
    np.testing.assert_array_equal(joint.apply(videos[0])[0][:, :width], alone.apply(Part(videos[0].parts[0], 0, ROWS))[0])
