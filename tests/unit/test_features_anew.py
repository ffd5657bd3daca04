"""Features of unusual videos: mirrored, in another order, with losses; and those that earlier framewise cached."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from framewise.features import extraction
from framewise.features.cache import ABOUT, CHECKSUM, FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor
from framewise.media.library import MediaFile
from framewise.media.video import Losses, decode
from tests.videos import colour_pictures, with_matrix, write_timed, write_video

WEIGHTS = "w" * 64
TIMES = [Fraction(index, 25) for index in range(100)]


@pytest.fixture
def extractor(tmp_path):
    """Makes an extractor that remembers nothing of what another one found in the cache."""
    return lambda: Extractor(FeatureCache(tmp_path / "cache"), "fast", Compute("torch", "float32", 1))


@pytest.fixture
def extract(extractor, tiny, quiet):
    """Features of a file; ``computed`` counts how often the backbone was asked for."""

    def run(path, content=""):
        def load():
            run.computed += 1
            return tiny

        return extractor().extract(MediaFile(path, content or f"content of {path.name}"), WEIGHTS, load, "center", quiet)

    run.computed = 0
    return run


def all_rows(features):
    return features.take(np.arange(len(features.timeline.pts)))


def made_earlier(folder: Path) -> None:
    """Times of pictures as they were cached before losses were counted."""
    paths = list(FeatureCache(folder / "cache").times_items().rglob("output.npy"))
    assert paths
    for path in paths:
        record = np.load(path)[0]
        names = ("time_base", "duration", "pts")
        kind = np.dtype([(name, record.dtype[name]) for name in names])
        path.unlink()
        np.save(path, np.array([tuple(record[name] for name in names)], dtype=kind))
        about = path.with_name(ABOUT)
        about.write_text(json.dumps({name: value for name, value in json.loads(about.read_text()).items() if name != CHECKSUM}))


MIRRORED = {"left and right": (-1, 0, 0, 1), "upside down": (1, 0, 0, -1), "transposed": (0, 1, 1, 0)}


@pytest.mark.parametrize("how", MIRRORED)
@pytest.mark.parametrize("size", [(96, 64), (320, 240)], ids=["small", "large"])
def test_mirrored_pictures_have_the_features_of_mirrored_pictures(tmp_path, extract, how, size):
    pictures = colour_pictures(5, size)
    plain = write_video(tmp_path / "plain.mp4", pictures)
    path = with_matrix(plain, tmp_path / "clip.mp4", MIRRORED[how])
    shown = {"left and right": lambda p: p[:, ::-1], "upside down": lambda p: p[::-1], "transposed": lambda p: p.swapaxes(0, 1)}
    right = write_video(tmp_path / "right.mp4", [shown[how](picture) for picture in pictures])
    rows, expected, others = (all_rows(extract(file)) for file in (path, right, plain))
    assert np.abs(rows - expected).mean() < 0.3 * np.abs(rows - others).mean()  # H.264 is no mirror of itself


def test_rows_of_a_mirrored_video_that_were_made_before_are_made_anew(tmp_path, extractor, extract):
    plain = write_video(tmp_path / "plain.mp4", colour_pictures(5))
    before = all_rows(extract(plain, "content")).copy()  # as framewise once read the mirrored file
    made_earlier(tmp_path)
    cached = extractor().cached("content", WEIGHTS, "center")
    assert cached is not None
    path = with_matrix(plain, tmp_path / "clip.mp4", (-1, 0, 0, 1))
    assert extractor().is_outdated(cached, MediaFile(path, "content"))
    after = all_rows(extract(path, "content"))
    assert extract.computed == 2
    assert np.abs(after - before).max() > 0.05
    found = extractor().cached("content", WEIGHTS, "center")
    assert found is not None
    np.testing.assert_array_equal(all_rows(found), after)
    assert not extractor().is_outdated(found, MediaFile(path, "content"))


def test_times_of_an_avi_that_were_found_before_are_found_anew(tmp_path, extractor, extract, monkeypatch):
    path = write_timed(tmp_path / "clip.avi", TIMES, Fraction(1, 25), time_base=Fraction(1, 25), b_frames=3)
    monkeypatch.setattr(extraction, "is_read_anew", lambda path: False)
    monkeypatch.setattr(extraction, "ANEW", "not asked for")
    extract(path)
    made_earlier(tmp_path)
    monkeypatch.undo()
    assert extractor().is_outdated(extractor().cached("content of clip.avi", WEIGHTS, "center"), MediaFile(path, "another"))
    assert extract(path).timeline.rows(25.0).tolist() == list(range(100))


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_rows_of_other_videos_stay_as_they_are(tmp_path, extractor, extract, matrix):
    path = with_matrix(write_video(tmp_path / "plain.mp4", colour_pictures(5)), tmp_path / "clip.mp4", matrix)
    extract(path)
    made_earlier(tmp_path)
    found = extractor().cached("content of clip.mp4", WEIGHTS, "center")
    assert found is not None
    assert found.timeline.losses is None
    one = extractor()
    for _ in range(2):
        assert not one.is_outdated(found, MediaFile(path, "content of clip.mp4"))
    extract(path)
    assert extract.computed == 1


def test_a_pass_over_an_avi_goes_on_where_it_was(tmp_path, extractor, extract, monkeypatch):
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", 16)
    path = write_timed(tmp_path / "clip.avi", TIMES, Fraction(1, 25), time_base=Fraction(1, 25), b_frames=3)
    whole = all_rows(extract(path, "whole"))
    first = [MediaFile.check_unchanged]

    def interrupted(file):
        first.append(first[0])
        if len(first) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(MediaFile, "check_unchanged", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(path, "in parts")
    again = extract(path, "in parts")
    assert again.timeline.pts.tolist() == list(range(100))
    np.testing.assert_allclose(all_rows(again), whole, atol=1e-5)


def test_losses_are_kept_with_the_times_of_pictures(tmp_path, extractor, extract):
    for name, start in (("first.ts", 4), ("second.ts", 0)):
        write_timed(tmp_path / name, [time + start for time in TIMES[:50]], Fraction(1, 25))
    path = tmp_path / "clip.ts"
    path.write_bytes((tmp_path / "first.ts").read_bytes() + (tmp_path / "second.ts").read_bytes())
    losses = Losses()
    assert len(list(decode(path, None, losses))) == 50
    assert extract(path).timeline.losses == losses == Losses(without_time=50)
    found = extractor().cached("content of clip.ts", WEIGHTS, "center")
    assert found is not None
    assert found.timeline.losses == losses
