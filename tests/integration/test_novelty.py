"""Rendered scenes that are unlike the annotated ones, by the features of the shipped backbone."""

from dataclasses import replace

import numpy as np
import pytest

from framewise.controls.learner import certainty
from framewise.core.progress import silent
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor, GridRows
from framewise.learning.auto import learn_quickly
from framewise.learning.tracks import LabelledVideo
from framewise.media.library import MediaFile
from tests.videos import write_video

SIDE, FRAMES, FRAME_RATE = 96, 75, 25
LABELS = ["upright", "lying"]
LIES = slice(45, 65)


def room(seed):
    """A wall and a floor, and somebody who stands, and lies for a while."""
    rng = np.random.default_rng(seed)
    wall, floor, clothes = rng.uniform(120, 200, 3), rng.uniform(60, 110, 3), rng.uniform(0, 255, 3)
    for index in range(FRAMES):
        picture = np.empty((SIDE, SIDE, 3))
        picture[:60], picture[60:] = wall, floor
        x = 30 + seed * 3 % 20 + round(4 * np.sin(index / 5))
        lies = index in range(*LIES.indices(FRAMES))
        height, width = (10, 40) if lies else (40, 12)
        picture[80 - height : 80, x : x + width] = clothes
        yield picture


def street(seed):
    """Houses with many windows, and cars that pass."""
    rng = np.random.default_rng(seed)
    houses = np.kron(rng.uniform(20, 240, (16, 24, 3)), np.ones((4, 4, 1)))
    cars = rng.uniform(0, 255, (4, 3))
    for index in range(FRAMES):
        picture = np.full((SIDE, SIDE, 3), 90.0)
        picture[:64] = houses
        for number, colour in enumerate(cars):
            x = (index * (2 + number) + 25 * number) % SIDE
            picture[66 + 7 * number : 72 + 7 * number, x : x + 18] = colour
        yield picture


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    backbones = Backbones(folder, folder / "converted")
    file, extractor = backbones.find("efficientnet-lite0"), Extractor(FeatureCache(folder / "cache"), "fast", Compute())

    def make(scene, seed):
        path = folder / f"{scene.__name__}-{seed}.mp4"
        pictures = [np.clip(picture, 0, 255).astype(np.uint8) for picture in scene(seed)]
        write_video(path, pictures, FRAME_RATE)
        features = extractor.extract(MediaFile.of(path), file.content, lambda: backbones.load(file), "center", silent)
        return GridRows(features, FRAME_RATE)

    return make


def test_of_a_street_nothing_is_claimed_where_rooms_were_annotated(rows_of):
    videos = []
    for seed in range(4):
        rows = rows_of(room, seed)
        truth = np.tile(np.array([1, 0], np.uint8), (len(rows), 1))
        truth[LIES] = 0, 1
        videos.append(LabelledVideo(rows, truth, np.ones(truth.shape, dtype=bool), seed))
    classifier = learn_quickly(videos, LABELS, None)
    streets, rooms = ([classifier.predict(rows_of(scene, seed)) for seed in (10, 11)] for scene in (street, room))
    without_limits = np.concatenate([replace(classifier, limits=None).predict(rows_of(street, seed)) for seed in (10, 11)])
    assert (without_limits >= 0.5).any(axis=1).mean() > 0.5
    assert (np.concatenate(streets) >= 0.5).any(axis=1).mean() <= 0.05
    assert (np.concatenate(rooms) >= 0.5).any(axis=1).mean() > 0.9
    assert max(map(certainty, streets)) < min(map(certainty, rooms))
