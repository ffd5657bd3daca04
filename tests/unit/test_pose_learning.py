"""Poses tell labels that pictures and motion do not: line figures before any background."""

from fractions import Fraction

import numpy as np
import pytest

from framewise.core.metrics import mean_frame_f1
from framewise.core.progress import silent
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor, Timeline
from framewise.features.kinds.lite0 import LITE0
from framewise.features.pose_rows import PoseRows
from framewise.features.poses import pack_poses, to_stored
from framewise.learning.auto import AutoClassifier, learn_quickly, learn_thoroughly
from framewise.learning.joint import JointRows
from framewise.learning.models import load_model
from framewise.learning.tracks import LabelledVideo
from framewise.media.library import MediaFile
from tests.pose_help import SIZE, figure_labels, figure_video
from tests.videos import write_video

LABELS, FRAME_RATE, PICTURES, VIDEOS, LEARNED = ["Arms up", "Kneeling"], 10, 80, 6, 4


class Poses:
    """Poses of a video as the cache holds them: of figures whose key points are known."""

    def __init__(self, persons):
        self.timeline = Timeline(np.arange(len(persons)), Fraction(1, FRAME_RATE), len(persons) / FRAME_RATE)
        stored = {number: to_stored(of, (17, 3), SIZE[0]) for number, of in enumerate(persons)}
        self._records = pack_poses(self.timeline.pts, stored, (17, 3))

    def records(self, rows):
        return self._records[rows]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """For each of the videos its rows without and with poses, and its labels."""
    folder = tmp_path_factory.mktemp("figures")
    backbones = Backbones(folder / "models", folder / "data")
    file, extractor = backbones.find(LITE0), Extractor(FeatureCache(folder / "cache"), "fast", Compute("torch", "float32"))
    found = []
    for seed in range(VIDEOS):
        labels = figure_labels(PICTURES, seed)
        pictures, persons = figure_video(labels, seed)
        path = write_video(folder / f"{seed}.mp4", pictures, FRAME_RATE)
        features = extractor.extract(MediaFile.of(path), file.content, lambda: backbones.load(file), "center", silent)
        seen = features.rows_on_grid(FRAME_RATE)
        poses = PoseRows(Poses(persons), FRAME_RATE)
        both = JointRows([seen, poses], len(seen), FRAME_RATE, 0, ("what is seen", "the pose"), (1.0, 1.0))
        found.append((seen, both, labels))
    return found


def learned(videos, kind):
    known = [LabelledVideo(v[kind], v[2], np.ones(v[2].shape, dtype=bool), n) for n, v in enumerate(videos[:LEARNED])]
    return learn_thoroughly(known, LABELS, silent).classifier


def true_f1(videos, kind, model):
    return float(np.mean([mean_frame_f1(v[2], model.predict(v[kind]) >= 0.5) for v in videos[LEARNED:]]))


def test_labels_that_only_the_pose_tells_are_learned_by_it(tmp_path, videos, one_thread):
    without, with_poses = learned(videos, 0), learned(videos, 1)
    scores = true_f1(videos, 0, without), true_f1(videos, 1, with_poses)
    assert scores[1] > 0.85
    assert scores[1] > scores[0] + 0.15
    assert all("the pose" in told for told in with_poses.evidence().values())
    with_poses.save(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, AutoClassifier)
    np.testing.assert_allclose(again.predict(videos[-1][1]), with_poses.predict(videos[-1][1]), atol=1e-2)


def test_with_two_videos_fixed_weights_let_the_pose_count(videos, one_thread):
    scores = []
    for kind in (0, 1):
        known = [LabelledVideo(v[kind], v[2], np.ones(v[2].shape, dtype=bool), n) for n, v in enumerate(videos[:2])]
        scores.append(true_f1(videos, kind, learn_quickly(known, LABELS, None)))
    assert scores[1] > scores[0] + 0.1
    assert scores[1] > 0.6
