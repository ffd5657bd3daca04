"""Weights of evidence: of made-up films whose labels are told by what is seen, or by how it moves."""

import itertools

import numpy as np
import pytest
import torch

from framewise.learning import kernel
from framewise.learning.auto import learn_quickly, learn_thoroughly
from framewise.learning.evidence import MUTED, choose, in_words, supposed_shares
from framewise.learning.folds import make_folds
from framewise.learning.tracks import BLOCK_NAMES, MOTION_NAMES, Basis, LabelledVideo
from tests.film_help import LABELS, Film, all_known, film, labelled, plans, quiet

SEEN, CHANGES, MOVES, SHAPE = range(4)  # the blocks, in order
BY_SIGHT, BY_MOTION = {"shown": True, "moved": False}, {"shown": False, "moved": True}


pytestmark = pytest.mark.usefixtures("one_thread")


def films(number, **told_by):
    return [labelled(seed, plan, **told_by) for seed, plan in enumerate(plans(number))]


@pytest.fixture(scope="module")
def by_sight():
    return learn_thoroughly(films(5, **BY_SIGHT), LABELS, quiet)


@pytest.fixture(scope="module")
def by_motion():
    return learn_thoroughly(films(5, **BY_MOTION), LABELS, quiet)


# What tells a label counts.


def test_labels_that_are_seen_are_told_by_what_is_seen(by_sight):
    shares = by_sight.classifier.shares
    assert (shares[:, SEEN] == 1).all()
    assert (shares[:, [CHANGES, MOVES, SHAPE]] < 0.5).all()
    assert by_sight.classifier.evidence() == {"Walk": "what is seen", "Run": "what is seen"}


def test_labels_that_move_are_told_by_how_much_moves(by_motion):
    shares = by_motion.classifier.shares
    assert (shares[:, MOVES] == 1).all()
    assert (shares[:, [SEEN, CHANGES]] < 0.5).all()
    assert by_motion.classifier.evidence() == {"Walk": "how much moves", "Run": "how much moves"}


def test_the_kind_of_evidence_that_tells_a_label_explains_most_of_it(by_sight, by_motion):
    """The others explain something as well, for each is tried with a tenth of what tells the label."""
    for learned, tells, other in ((by_sight, SEEN, MOVES), (by_motion, MOVES, SEEN)):
        for explained in learned.explained.values():
            assert explained[BLOCK_NAMES[tells]] == max(explained.values()) > 0.9
            assert explained[BLOCK_NAMES[tells]] > explained[BLOCK_NAMES[other]] + 0.02


def test_what_has_nothing_to_do_with_labels_explains_nothing_of_them():
    explained = learn_thoroughly(films(5, shown=False), LABELS, quiet).explained
    assert set(explained) == set(LABELS)
    for of_label in explained.values():
        assert list(of_label) == list(BLOCK_NAMES)
        assert max(of_label.values()) < 0.1


def test_of_two_labels_each_is_told_by_its_own_kind_of_evidence():
    shares = learn_thoroughly(films(5, shown=(True, False), moved=(False, True)), LABELS, quiet).classifier.shares
    walk, run = shares
    assert run[MOVES] / run[SEEN] > 1.2 * walk[MOVES] / walk[SEEN]


def test_evidence_is_found_in_a_group_of_a_sensors_numbers():
    """Three groups of eight numbers, and the labels in the second alone. There is no picture, so motion is no evidence."""
    groups = [("left wrist", slice(0, 8), 1.0), ("right wrist", slice(8, 16), 1.0), ("chest", slice(16, 24), 1.0)]

    def recording(seed, plan):
        rows, truth = film(seed, plan, shown=False)
        values = rows.seen - rows.seen.mean(0)
        values[:, 8:16] += 3 * truth @ np.eye(2, 8)
        sensor = Film(values, None)
        sensor.groups, sensor.counts = groups, np.ones(24, np.float32)
        return LabelledVideo(sensor, truth, all_known(truth), seed)

    learned = learn_thoroughly([recording(seed, plan) for seed, plan in enumerate(plans(5))], LABELS, quiet)
    for label in LABELS:
        assert learned.classifier.evidence()[label] == "right wrist"
        explained = learned.explained[label]
        assert max(explained, key=explained.get) == "right wrist"
        assert explained.keys().isdisjoint(MOTION_NAMES)


def test_the_choice_does_not_depend_on_the_order_of_videos():
    videos = films(4, shown=(True, False), moved=(False, True))
    one, other = (learn_thoroughly(order, LABELS, quiet).classifier.shares for order in (videos, videos[::-1]))
    torch.testing.assert_close(one, other, atol=0.02, rtol=0)


# Few videos say little.


def sample_of(videos):
    basis = Basis.fit([v.rows for v in videos])
    tracks = [track for v in videos for track in basis.tracks(v)]
    return kernel.Sample(tracks, [torch.zeros(len(t), dtype=torch.bool) for t in tracks])


def folds_of(videos):
    return make_folds([len(v.rows) for v in videos], [v.frame_labels for v in videos], [v.group for v in videos], 0).folds


def test_with_fewer_than_three_videos_shares_are_supposed():
    """Half of each kind of what is seen; of motion, .8 and 3 times how steady it is."""
    videos = films(2, **BY_SIGHT)
    learned = learn_thoroughly(videos, LABELS, quiet)
    steady = sample_of(videos).steady
    expected = torch.tensor([0.5, 0.5, 0.8 * steady[MOVES], 3 * steady[SHAPE]])
    torch.testing.assert_close(learned.classifier.shares, expected.repeat(2, 1))
    assert learned.explained == {}


def test_videos_of_equal_content_are_one_video():
    """Four of one content tell nothing, so all candidates count as before. Of four kinds of evidence there are 15, of which 7
    mute a kind, and as much as all of these count the supposed shares."""
    videos = films(4, **BY_SIGHT)
    sample, folds = sample_of(videos), folds_of(videos)
    of_one = choose(sample, folds, ["a", "a", "a", "a"]).shares
    expected = (supposed_shares(sample) * MUTED ** (7 / 15)).sqrt()
    torch.testing.assert_close(of_one, expected / expected.max())
    assert choose(sample, folds, ["a", "b", "c", "d"]).shares[:, SEEN].min() > 0.9


def test_a_label_that_occurs_nowhere_has_the_shares_of_the_project():
    videos = [labelled(seed, [plan[0], []], **BY_SIGHT) for seed, plan in enumerate(plans(4))]
    shares, explained = choose(sample_of(videos), folds_of(videos), range(4))
    assert shares[1, SEEN] > 0.8
    assert explained[1].isnan().all()
    assert not explained[0].isnan().any()


def test_a_version_that_learns_quickly_keeps_the_shares_that_were_measured(by_sight):
    """A label that is new has the mean of the others."""
    measured = by_sight.classifier
    again = learn_quickly(films(1), ["Run", "Jump"], measured).shares
    torch.testing.assert_close(again[0], measured.shares[1])
    torch.testing.assert_close(again[1], measured.shares.mean(0))


def test_without_a_version_that_was_measured_shares_are_supposed():
    videos = films(1)
    torch.testing.assert_close(learn_quickly(videos, LABELS, None).shares, supposed_shares(sample_of(videos)))


# For people.


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ((1, 0.1, 0.1, 0.1), "what is seen"),
        ((0.5, 0.1, 0.5, 0.1), "what is seen and how much moves"),
        ((1, 1, 1, 1), "everything alike"),
        ((1, 0.7, 1, 0.9), "everything alike"),
        ((0.375, 0.25, 0.25, 0.125), "what is seen"),  # one and a half times an even share
    ],
)
def test_kinds_of_evidence_that_count_most_are_named(shares, told):
    assert in_words(shares, BLOCK_NAMES) == told


# Solutions without some rows.


def from_scratch(sample, weights, label, rows):
    """Coefficients of rows (n,) for a label, and its prior, by numpy. The ridge is that of all rows in which it is known."""
    ridge = min(kernel.RIDGE * int(sample.known[:, label].sum()), kernel.MAX_RIDGE)
    total = sum(float(w) * k.double().numpy() for w, k in zip(weights[label], sample.kernels, strict=True))[np.ix_(rows, rows)]
    target = sample.labels[rows, label].double().numpy()
    return np.linalg.solve(total + ridge * np.eye(len(rows)), target - target.mean()), target.mean()


def partly_known(patterns):
    """Three films of a few seconds; patterns (L) of known rows: all, every third, the first half, or none."""
    videos = [labelled(seed, [[(1, 2)], [(2, 3), (0, 1)]], seconds=4) for seed in range(3)]
    sample = sample_of(videos)
    number = torch.arange(len(sample))
    masks = {"all": number >= 0, "third": number % 3 == 0, "half": number < len(number) // 2, "none": number < 0}
    sample.known = torch.stack([masks[name] for name in patterns], 1)
    return sample


@pytest.mark.parametrize(
    "patterns", [("all", "all"), ("all", "third"), ("third", "third"), ("half", "third"), ("none", "half"), ("half", "none")]
)
@pytest.mark.parametrize("shares", [((1, 1, 1, 1), (1, 1, 1, 1)), ((1, 0.1, 0.1, 0.1), (0.1, 0.1, 1, 0.5))])
def test_solutions_without_some_rows_are_those_of_the_other_rows(patterns, shares):
    """Nothing is left out, one film is, or rows here and there."""
    sample = partly_known(patterns)
    weights = sample.weights(torch.tensor(shares))
    random_rows = torch.from_numpy(np.random.default_rng(0).random(len(sample)) < 0.3)
    left_out = [torch.zeros(len(sample), dtype=torch.bool), sample.tracks == 1, random_rows]
    whole, parts = kernel.solve(sample, weights, left_out)
    for (outside, part), label in itertools.product([(left_out[0], whole), *zip(left_out, parts, strict=True)], range(2)):
        rows = (sample.known[:, label] & ~outside).nonzero()[:, 0].numpy()
        expected, prior = np.zeros(len(sample)), 0.0
        if len(rows):
            expected[rows], prior = from_scratch(sample, weights, label, rows)
        np.testing.assert_allclose(part.counts[:, label].numpy(), expected, atol=0.01 * max(1, np.abs(expected).max()))
        assert float(part.prior[label]) == pytest.approx(prior, abs=1e-6)


def test_without_all_rows_that_a_label_is_known_in_it_counts_nothing():
    sample = partly_known(("all", "half"))
    weights = sample.weights(torch.ones(2, 4))
    _, (part,) = kernel.solve(sample, weights, [sample.known[:, 1].clone()])
    assert part.counts[:, 0].abs().max() > 0
    assert part.counts[:, 1].abs().max() == 0
    assert float(part.prior[1]) == 0


def test_of_every_so_many_rows_a_solution_is_that_of_these():
    sample = partly_known(("all", "third"))
    weights = sample.weights(torch.ones(2, 4))
    coarse, _ = kernel.solve(sample, weights, [], every=4)
    sample.known &= (torch.arange(len(sample)) % 4 == 0)[:, None]
    same, _ = kernel.solve(sample, weights, [])
    assert coarse.counts.abs().max() > 0
    torch.testing.assert_close(coarse.counts, same.counts)
    torch.testing.assert_close(coarse.prior, same.prior)
