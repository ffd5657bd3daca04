"""The learner looks further around rows that describe windows of pictures."""

import numpy as np
import pytest
import torch

from framewise.learning.auto import learn_thoroughly
from framewise.learning.context import blocks, cells, shape, windows
from framewise.learning.joint import JointBasis, JointRows
from framewise.learning.tracks import MOTION_SIZE, Basis, LabelledVideo, Part, Track

RATE = 10.0


class Rows:
    """Rows of random numbers, each of which describes a window."""

    counts = None
    frame_rate = RATE

    def __init__(self, count=60, window_seconds=0.0, size=3, seed=0):
        rng = np.random.default_rng(seed)
        self.numbers, self.window_seconds = rng.normal(size=(count, size)).astype(np.float32), window_seconds

    def __len__(self):
        return len(self.numbers)

    def read(self, index):
        return self.numbers[index], np.full((len(index), MOTION_SIZE), 0.1, np.float32)


def seen_of(track, row):
    return [block[0] for block in blocks(track, cells(track), shape(track), torch.tensor([row]))[:-2]]


def test_context_is_in_proportion_to_the_window():
    numbers = torch.arange(200.0).unsqueeze(1) ** 2
    labels, known = torch.zeros(200, 1), torch.ones(200, 1, dtype=torch.bool)
    track = Track(numbers, torch.full((200, MOTION_SIZE), 0.1), RATE, labels, known, windows=(4.0,))
    appearance, changes = seen_of(track, 100)
    at = numbers[:, 0]
    torch.testing.assert_close(appearance, torch.stack([at[100], at[80], at[120], at[60:141].mean()]))
    torch.testing.assert_close(changes, torch.stack([at[105] - at[95], at[110] - at[90], at[120] - at[80]]))
    (part, first, own) = next(iter(windows(track)))
    assert (len(part), first, own) == (200, 0, slice(0, 200))
    plain = Track(numbers, torch.full((200, MOTION_SIZE), 0.1), RATE, labels, known)
    assert not torch.equal(seen_of(plain, 100)[0], appearance)


def test_parts_of_a_long_video_see_as_far_as_the_whole():
    rows = Rows(2500, 8.0)
    track = Basis.fit([rows]).unlabelled(rows, 1)
    assert track.windows == (8.0,)
    assert track.cut(3, 9).windows == (8.0,)
    for part, first, own in windows(track):
        for row in (own.start, min(own.stop, len(part)) - 1):
            for ours, whole in zip(seen_of(part, row), seen_of(track, first + row), strict=True):
                torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-4)


def test_each_medium_has_its_own_window():
    rows = JointRows([Rows(60, 2.0), None, Rows(60, seed=1)], 60, RATE, 0)
    assert Part(rows.parts[0], 1, 5).window_seconds == 2.0
    other = JointRows([Rows(60, 2.0), Rows(60, seed=2), Rows(60, seed=1)], 60, RATE, 0)
    basis = JointBasis.fit([rows, other])
    assert basis.windows(other) == (2.0, 0.0, 0.0)
    assert basis.windows(rows) == (2.0, 0.0, 0.0)


@pytest.mark.parametrize("window_seconds", [0.0, 2.0, 16.0])
def test_a_version_is_learned_from_windows_of_any_length(window_seconds):
    labels = np.zeros((60, 1), np.uint8)
    labels[20:40] = 1
    videos = []
    for seed in range(3):
        rows = Rows(60, window_seconds, seed=seed)
        rows.numbers[20:40] += 3
        videos.append(LabelledVideo(rows, labels, np.ones((60, 1), dtype=bool), seed))
    model = learn_thoroughly(videos, ["on"], lambda share, detail: None).classifier
    found = model.predict(videos[0].rows)[:, 0]
    assert found[25:35].mean() > found[:10].mean() + 0.3
