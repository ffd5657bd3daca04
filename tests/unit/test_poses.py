"""Poses of a video: made once, kept beside its features and apart from them, and seen by the learner as numbers of a person."""

from fractions import Fraction

import numpy as np
import pytest

from framewise.core.progress import silent
from framewise.features import extraction
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor, current_preprocessings
from framewise.features.housekeeping import Housekeeper
from framewise.features.pose_networks import PoseNetworks
from framewise.features.pose_rows import PoseRows, pose_numbers
from framewise.features.poses import COMPUTED_PER_SECOND, NUMBER, pack_poses, to_stored
from framewise.media.library import MediaFile
from tests.pose_help import random_picture, write_pose_checkpoint
from tests.videos import pictures_of, write_video

PLAIN = Compute("torch", "float32", 2)
POINTS = (17, 3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_pose_checkpoint(tmp_path_factory.mktemp("models") / "tiny-pose.pt", points=POINTS)


@pytest.fixture
def network(tmp_path, checkpoint):
    """The tiny network, with ``calls``: how many pictures each call was given."""
    networks = PoseNetworks(Backbones(checkpoint.parent, tmp_path / "data"), checkpoint.parent, tmp_path / "data")
    network = networks.load(networks.find("tiny-pose.pt"))
    find, network.calls = network.find, []

    def counted(images):
        network.calls.append(len(images))
        return find(images)

    network.find = counted
    return network


@pytest.fixture
def extract(tmp_path, network):
    def run(path, cache="cache", progress=silent):
        extractor = Extractor(FeatureCache(tmp_path / cache), "fast", PLAIN)
        return extractor.extract_poses(MediaFile(path, f"content of {path.name}"), "p" * 64, lambda: network, progress)

    return run


def clip(path, count=40, frame_rate=30):
    return write_video(path, [random_picture(64, 96, seed) for seed in range(count)], frame_rate)


def stored_of(features):
    return features.records(np.arange(len(features.timeline.pts)))


# What is computed, and kept.


def test_ten_pictures_a_second_are_computed_and_those_between_interpolated(tmp_path, extract, network):
    path = clip(tmp_path / "clip.mp4")
    found = stored_of(extract(path))["pose"].astype(np.float32)
    assert sum(network.calls) == 14  # of 40 at 30 a second: 0, 3, .. 39
    every = 30 // COMPUTED_PER_SECOND
    persons = network.find(pictures_of(path)[::every])
    expected = np.stack([to_stored(of, POINTS, 64) for of in persons])
    np.testing.assert_allclose(found[::every], expected, atol=2e-3)
    both = ~np.isnan(expected[:-1, 2]) & ~np.isnan(expected[1:, 2])
    assert both.any()
    np.testing.assert_allclose(found[1::every][both], (expected[:-1] * 2 / 3 + expected[1:] / 3)[both], atol=4e-3)


def test_slow_videos_are_computed_picture_by_picture(tmp_path, extract, network):
    extract(clip(tmp_path / "slow.mp4", 12, 5))
    assert sum(network.calls) == 12


def test_a_pass_that_was_interrupted_goes_on_where_it_was(monkeypatch, tmp_path, extract, network):
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", 16)
    path = clip(tmp_path / "clip.mp4", 60)
    whole, computed = stored_of(extract(path, "whole")), sum(network.calls)

    def interrupt(share, detail):
        if int(detail.split()[1]) > 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(path, "parts", interrupt)
    network.calls.clear()
    again = stored_of(extract(path, "parts"))
    np.testing.assert_array_equal(again["pts"], whole["pts"])
    np.testing.assert_allclose(again["pose"].astype(float), whole["pose"].astype(float), atol=2e-3)
    assert 0 < sum(network.calls) < computed


def test_poses_and_features_are_kept_apart(tmp_path, extract, network, models_folder):
    path = clip(tmp_path / "clip.mp4", 12)
    backbones = Backbones(models_folder, tmp_path / "data")
    backbone, calls = backbones.load(backbones.find("tiny-cls.pt")), []
    extractor = Extractor(FeatureCache(tmp_path / "cache"), "fast", PLAIN)
    media = MediaFile(path, f"content of {path.name}")

    def load():
        calls.append("backbone")
        return backbone

    before = extractor.extract(media, "w" * 64, load, "center", silent)
    assert extractor.cached_poses(media.content, "p" * 64) is None
    extract(path)
    assert sum(network.calls) == 4
    after = extractor.extract(media, "w" * 64, load, "center", silent)
    np.testing.assert_array_equal(np.hstack(before.read(np.arange(12))), np.hstack(after.read(np.arange(12))))
    extract(path)
    assert (calls, sum(network.calls)) == (["backbone"], 4)
    assert extractor.cached_poses(media.content, "p" * 64) is not None
    assert extractor.cached_poses(media.content, "other weights") is None


def test_poses_of_a_network_that_is_there_are_no_leftovers(tmp_path, extract):
    extract(clip(tmp_path / "clip.mp4", 4))
    housekeeper = Housekeeper(FeatureCache(tmp_path / "cache"))
    assert housekeeper.leftovers(["p" * 64], current_preprocessings()) == []
    assert [found.kind for found in housekeeper.leftovers([], current_preprocessings())] == [
        "features of backbones that were removed"
    ]


# What is stored of a picture.


def person(*points, box=(20.0, 10.0, 40.0, 90.0), confidence=0.8):
    return np.array([*box, confidence, 0, *np.ravel(points)], dtype=np.float32)


def test_the_most_confident_person_is_kept_in_heights_of_the_picture():
    persons = np.stack([person((20, 50, 0.9), (30, 10, 0.1)), person((1, 1, 1), (2, 2, 1), box=(0, 0, 9, 9), confidence=0.5)])
    np.testing.assert_allclose(
        to_stored(persons, (2, 3), 100), [2, 0.8, 0.2, 0.1, 0.4, 0.9, 0.2, 0.5, 0.9, 0.3, 0.1, 0.1], atol=1e-6
    )
    nobody = to_stored(persons[:0], (2, 3), 100)
    assert nobody[:2].tolist() == [0, 0]
    assert np.isnan(nobody[2:]).all()


def test_between_a_person_and_nobody_the_earlier_holds():
    someone, nobody = to_stored(person((20, 50))[np.newaxis], (1, 2), 100), to_stored(np.empty((0, 8), np.float32), (1, 2), 100)
    packed = pack_poses(np.array([0, 10, 20, 30, 40]), {0: someone, 2: nobody, 4: someone}, (1, 2))
    np.testing.assert_allclose(packed["pose"][0], someone, atol=1e-3)
    assert packed["pose"][1, NUMBER] == 0.5
    np.testing.assert_allclose(packed["pose"][1, 2:], someone[2:], atol=1e-3)
    assert np.isnan(packed["pose"][2:4, 2:]).all()
    assert packed["points"].tolist() == [[1, 2]] * 5


# What the learner sees.


def figure(scale=1.0, x=0.0, y=0.0):
    """A stored pose of two key points: someone half as wide as high."""
    low, high = np.array([0.1, 0.2]) * scale + [x, y], np.array([0.3, 0.6]) * scale + [x, y]
    points = np.array([[0.2, 0.2], [0.3, 0.6]]) * scale + [x, y]
    return np.array([1, 0.9, *low, *high, *points[0], 0.7, *points[1], 0.4], dtype=np.float32)


def test_a_pose_is_the_same_near_and_far():
    near, far = pose_numbers(np.stack([figure(2.0), figure(1.0, 0.4, 0.1)]), (2, 3))
    np.testing.assert_allclose(near[7:], far[7:], atol=0.02)
    np.testing.assert_allclose(near[7:], [0, -0.5, 0.25, 0.5, 0.7, 0.4], atol=0.03)
    assert np.abs(near[:7] - far[:7]).max() > 0.1


def test_nobody_is_unknown_but_for_how_many_there_are():
    numbers = pose_numbers(to_stored(np.empty((0, 12), np.float32), (2, 3), 100)[np.newaxis], (2, 3))[0]
    assert numbers[:2].tolist() == [0, 0]
    assert np.isnan(numbers[2:]).all()


def test_rows_are_those_of_the_frames_that_label_studio_shows(tmp_path, extract):
    features = extract(clip(tmp_path / "clip.mp4", 40))
    rows = PoseRows(features, 15.0)
    assert len(rows) == features.timeline.num_frames(15.0) == 20
    numbers, motion = rows.read(np.array([0, 7, 19]))
    assert motion is None
    assert numbers.shape == (3, 7 + 17 * 3) == (3, len(rows.counts))
    expected = stored_of(features)["pose"][features.timeline.rows(15.0)[[0, 7, 19]]].astype(np.float32)
    np.testing.assert_array_equal(numbers, pose_numbers(expected, POINTS))
    assert float((rows.counts**2).sum()) == pytest.approx(3.0)
    assert features.timeline.time_base == Fraction(1, 15360)
