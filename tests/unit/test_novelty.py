"""Scenes that are unlike all that was learned, on films that were made up: what is seen in them varies in a few directions."""

import json
from dataclasses import replace

import numpy as np
import pytest

from framewise.controls.learner import certainty
from framewise.learning.auto import learn_quickly, learn_thoroughly
from framewise.learning.decisions import BELOW
from framewise.learning.joint import JointRows
from framewise.learning.models import load_model
from framewise.learning.novelty import LIMIT, Novelty, unlike
from framewise.learning.tracks import Basis, LabelledVideo

FEATURES, MOTION, FRAME_RATE = 256, 44, 25.0
LABELS = ["upright", "lying"]
WORLDS = np.random.default_rng(0).normal(size=(2, 41, FEATURES))  # of each the middle, and directions in which scenes differ


pytestmark = pytest.mark.usefixtures("one_thread")


class Film:
    """Rows in memory."""

    frame_rate = FRAME_RATE

    def __init__(self, seen, moves=None, counts=None):
        self.seen, self.counts = seen.astype(np.float32), counts
        self.moves = None if moves is None else moves.astype(np.float32)

    def __len__(self):
        return len(self.seen)

    def read(self, index):
        return self.seen[index], None if self.moves is None else self.moves[index]


def film(seed, world=0, seconds=14.0, new=0.0):
    """A scene of a world, and what is on: somebody is upright, and lies from the sixth second in ten to the eighth.

    new: how much is seen that no other scene has.
    """
    rng = np.random.default_rng(seed)
    middle, upright, lying, *differences = WORLDS[world]
    moments = np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE
    lies = (moments % 10 >= 6) & (moments % 10 < 8)
    truth = np.stack([~lies, lies], 1)
    waves = np.sin(np.outer(moments, rng.uniform(1, 8, len(differences))) + rng.uniform(0, 6, len(differences)))
    scene = rng.normal(size=len(differences)) @ differences / 10 + new * rng.normal(size=FEATURES)
    noise = rng.normal(0, 0.05, (len(truth), FEATURES))
    seen = middle + scene + 0.1 * waves @ differences + truth @ [upright, lying] + noise
    moves = 0.02 + 0.01 * np.sin(np.outer(moments, rng.uniform(1, 8, MOTION)))
    return Film(seen, moves), truth.astype(np.uint8)


def labelled(seed, **more):
    rows, truth = film(seed, **more)
    return LabelledVideo(rows, truth, np.ones(truth.shape, dtype=bool), seed)


def quiet(share, detail):
    pass


@pytest.fixture(scope="module")
def learned():
    return learn_thoroughly([labelled(seed) for seed in range(4)], LABELS, quiet).classifier


def test_nothing_is_claimed_of_many_minutes_of_other_scenes(learned):
    other, _ = film(9, world=1, seconds=600)
    without_limits = replace(learned, limits=None).predict(other)
    assert (without_limits >= 0.5).any(axis=1).mean() > 0.9
    assert (learned.predict(other) >= 0.5).any(axis=1).mean() <= 0.05


def test_a_video_of_unlike_scenes_is_less_certain_than_one_of_like_scenes(learned):
    unlike_scores, like_scores = learned.predict(film(9, world=1)[0]), learned.predict(film(9)[0])
    assert certainty(unlike_scores) < 0.01 < 0.3 < certainty(like_scores)
    without_limits = replace(learned, limits=None).predict(film(9, world=1)[0])
    likeliest = without_limits.argmax(axis=1)
    assert unlike_scores[np.arange(len(likeliest)), likeliest].min() == BELOW


def test_a_version_of_three_annotations_or_more_claims_nothing_of_what_is_far_from_them():
    for videos in (3, 4):
        classifier = learn_quickly([labelled(seed) for seed in range(videos)], LABELS, None)
        rows, _ = film(9, world=1)
        far = Film(5 * rows.seen, rows.moves)
        assert (classifier.predict(far) >= 0.5).mean() == 0


@pytest.mark.parametrize("videos", [1, 2, 3, 4, 8])
def test_new_videos_of_the_same_kind_lose_nothing(videos):
    classifier = learn_quickly([labelled(seed) for seed in range(videos)], LABELS, None)
    for seed in range(50, 60):
        rows, _ = film(seed)
        np.testing.assert_array_equal(classifier.predict(rows), replace(classifier, limits=None).predict(rows))


def test_scenes_may_be_as_new_as_those_of_annotated_videos_are_to_each_other():
    """Each room has much that no other has."""
    classifier = learn_quickly([labelled(seed, new=2.0) for seed in range(4)], LABELS, None)
    alike = learn_quickly([labelled(seed) for seed in range(4)], LABELS, None)
    assert alike.limits[0].limit == LIMIT < classifier.limits[0].limit
    found = [(c.predict(film(9, new=2.0)[0]) >= 0.5).any(axis=1).mean() for c in (classifier, alike)]
    assert found[0] > 0.9
    assert found[1] == 0


def test_part_of_a_video_is_unlike():
    """Around a cut for as long as a scene lasts, half of it on either side."""
    classifier = learn_quickly([labelled(seed) for seed in range(4)], LABELS, None)
    parts = [film(9)[0], film(9, world=1, seconds=30)[0], film(9)[0]]
    whole = Film(np.concatenate([part.seen for part in parts]), np.concatenate([part.moves for part in parts]))
    found = (classifier.predict(whole) >= 0.5).any(axis=1)
    there = len(parts[0])
    assert found[: there - 125].mean() > 0.9
    assert found[there + 125 : -there - 125].mean() == 0
    assert found[-there + 125 :].mean() > 0.9


def test_a_glimpse_of_something_else_changes_nothing():
    classifier = learn_quickly([labelled(seed) for seed in range(4)], LABELS, None)
    rows, _ = film(9)
    rows.seen[200:225] = film(9, world=1)[0].seen[200:225]
    assert not unlike(classifier.basis, classifier.limits, rows).any()


def test_novelty_is_that_of_the_formula():
    """By numpy: x' (I + C / e)^-1 x as a share of the trace of C, where e is a hundredth of its largest eigenvalue."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 13, 20)) * np.linspace(1, 5, 20)
    films = [Film(v) for v in values]
    basis = Basis.fit(films)
    found = Novelty.of(basis, [(basis.apply(f)[0], 1.0) for f in films], [0, 1, 2])

    def novelty(new, learned, most=np.inf):
        covariance = np.cov(learned.T, bias=True)
        noise = np.linalg.eigvalsh(covariance)[-1] / 100
        apart = new - learned.mean(0)
        each = np.einsum("td,de,te->t", apart, np.linalg.inv(np.eye(20) + covariance / noise), apart) / np.trace(covariance)
        each = np.minimum(each, most)
        return np.array([each[max(0, row - 5) : row + 6].mean() for row in range(len(each))])

    highest = max(novelty(values[i], np.delete(values, i, 0).reshape(-1, 20)).max() for i in range(3))
    assert found.limit == pytest.approx(max(LIMIT, highest), rel=1e-4)
    everything = values.reshape(-1, 20)
    assert found.spread == pytest.approx(np.trace(np.cov(everything.T, bias=True)), rel=1e-4)
    new = rng.normal(size=(30, 20)) * 8
    limit = float(np.median(novelty(new, everything)))
    expected = novelty(new, everything, 2 * limit)
    assert 0 < (expected > limit).sum() < 30
    whole = Film(new)
    whole.frame_rate = 1.0
    np.testing.assert_array_equal(Novelty(found.spread, limit).exceeded(basis, whole), expected > limit)


def test_rows_that_are_all_alike_set_no_limit():
    still = Film(np.ones((50, FEATURES)), np.ones((50, MOTION)))
    video = LabelledVideo(still, np.zeros((50, 2), np.uint8), np.ones((50, 2), bool), 0)
    classifier = learn_quickly([video], LABELS, None)
    assert classifier.limits == [None]
    assert classifier.predict(film(9)[0]).max() < 0.5


def test_a_series_sets_no_limit():
    """Each of its features has a unit of its own, and what is far out counts as ten deviations."""
    videos = [labelled(seed) for seed in range(4)]
    series = [replace(v, rows=Film(v.rows.seen, v.rows.moves, np.ones(FEATURES, np.float32))) for v in videos]
    assert learn_quickly(series, LABELS, None).limits == [None]


def test_of_media_in_sync_all_that_are_there_must_be_unlike():
    def joint(seed, worlds):
        parts = [None if w is None else film(seed + 100 * m, world=w)[0] for m, w in enumerate(worlds)]
        return JointRows(parts, 350, FRAME_RATE, 0)

    videos = [replace(labelled(seed), rows=joint(seed, (0, 1))) for seed in range(4)]
    classifier = learn_quickly(videos, LABELS, None)
    assert [limit.limit for limit in classifier.limits] == [LIMIT, LIMIT]

    def claimed(*worlds):
        return (classifier.predict(joint(9, worlds)) >= 0.5).any(axis=1).mean()

    assert claimed(0, 1) > 0.9
    assert claimed(0, 0) > 0
    assert claimed(1, 1) > 0
    assert claimed(1, 0) == 0
    assert claimed(None, 0) == 0
    assert claimed(None, 1) > 0


def test_one_or_two_videos_give_no_limit():
    assert learn_quickly([labelled(0)], LABELS, None).limits == [None]
    assert learn_quickly([labelled(0), labelled(1)], LABELS, None).limits == [None]


def test_a_saved_version_has_the_same_limit_and_an_earlier_one_has_none(tmp_path, learned):
    learned.save(tmp_path)
    assert load_model(tmp_path).limits == learned.limits
    description = tmp_path / "network.json"
    told = json.loads(description.read_text())
    del told["novelty"]
    description.write_text(json.dumps(told))
    earlier = load_model(tmp_path)
    assert earlier.limits is None
    assert (earlier.predict(film(9, world=1)[0]) >= 0.5).any(axis=1).mean() > 0.9
