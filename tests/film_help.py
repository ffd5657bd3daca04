"""Films whose truth is known because they were made up: a label is on where a direction was added."""

import numpy as np

from framewise.learning.tracks import LabelledVideo

FEATURES, MOTION = 24, 44
DIRECTIONS = np.random.default_rng(7).normal(size=(2, FEATURES))
MOVES = np.random.default_rng(8).uniform(0, 0.1, size=(2, MOTION))
LABELS = ["Walk", "Run"]
PLAN = [[(3, 5), (9, 11)], [(6, 8)]]  # seconds in which each label is on


class Film:
    """Rows in memory: what is seen (T, FEATURES), and motion (T, MOTION) or None."""

    counts = None

    def __init__(self, seen, moves, frame_rate=25.0):
        self.seen, self.frame_rate = seen.astype(np.float32), frame_rate
        self.moves = None if moves is None else moves.astype(np.float32)

    def __len__(self):
        return len(self.seen)

    def read(self, index):
        return self.seen[index], None if self.moves is None else self.moves[index]

    def cut(self, start, stop):
        return Film(self.seen[start:stop], self.moves[start:stop], self.frame_rate)


def truth_of(plan, seconds, frame_rate):
    moments = np.arange(round(seconds * frame_rate)) / frame_rate
    return np.stack(
        [np.any([(a <= moments) & (moments < b) for a, b in spans] or [0 * moments > 0], axis=0) for spans in plan], 1
    )


def film(seed, plan=PLAN, seconds=14.0, frame_rate=25.0, shown=True, moved=False):
    """A film of a scene of its own that changes smoothly; while a label is on, its direction is added, if ``shown``, and it
    moves in its own way, if ``moved``: both for all labels, or of each."""
    rng = np.random.default_rng(seed)
    moments = np.arange(round(seconds * frame_rate))[:, None] / frame_rate
    waves = np.sin(rng.uniform(1, 8, FEATURES) * moments + rng.uniform(0, 6, FEATURES))
    truth = truth_of(plan, seconds, frame_rate)
    seen = rng.normal(size=FEATURES) + 0.3 * waves + 2 * (truth * shown) @ DIRECTIONS[: len(plan)]
    moves = 0.02 + 0.01 * np.sin(rng.uniform(1, 8, MOTION) * moments + rng.uniform(0, 6, MOTION))
    moves = moves + (truth * moved) @ MOVES[: len(plan)]
    return Film(seen, moves, frame_rate), truth.astype(np.uint8)


def all_known(truth, taught=(True, True)):
    """Known in all rows, of the labels that are taught."""
    return np.tile(np.array(taught), (len(truth), 1))


def labelled(seed, plan=PLAN, taught=(True, True), **more):
    rows, truth = film(seed, plan, **more)
    return LabelledVideo(rows, truth, all_known(truth, taught), seed)


def plans(number, seed=0):
    """Plans for two labels, at other moments in each film."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        first, second, third = rng.uniform(1, 3), rng.uniform(5, 6.5), rng.uniform(9, 11)
        yield [[(first, first + 2), (third, third + 2)], [(second, second + 2)]]


def quiet(share, detail):
    pass
