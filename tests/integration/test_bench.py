"""``framewise bench``, as a process: every side is timed on the same video, and what is said follows from the figures."""

import json
import os
import subprocess
import sys

import pytest

from framewise.commands.benchmark import BenchParts, usual_way
from framewise.features.backbone import LITE0, Backbones
from tests.integration.service import OUR_VARIABLES
from tests.videos import colour_pictures, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("bench-video") / "clip.mp4", colour_pictures(40, size=(320, 180)))


@pytest.fixture(scope="module")
def report(tmp_path_factory, tiny_checkpoint, video):
    """The printed text, the figures, and the picture's bytes; of a network that takes little time."""
    folder = tmp_path_factory.mktemp("bench")
    env = {name: value for name, value in os.environ.items() if name not in OUR_VARIABLES}
    env |= {name: str(folder / name.lower()) for name in ("CACHE_DIR", "DATA_DIR")}
    env |= {"MODEL_ROOT": str(tiny_checkpoint.parent), "MODEL_PATH": tiny_checkpoint.name, "EXTRACTION_THREADS": "2"}
    out, picture = folder / "bench.json", folder / "bench.png"
    command = [sys.executable, "-m", "framewise", "bench", str(video), "--rounds", "2"]
    command += ["--json", str(out), "--picture", str(picture)]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(out.read_text()), picture.read_bytes()


def test_the_usual_way_ours_and_the_ceilings_are_timed(report):
    printed, figures, picture = report
    kinds = [side["kind"] for side in figures["sides"]]
    assert kinds.count("reference") == 1
    assert kinds.count("framewise") >= 2
    assert kinds.count("ceiling") >= 4
    for side in figures["sides"]:
        assert 0 < side["lowest"] <= side["pictures_per_second"] <= side["highest"]
        assert side["name"] in printed
    (reference,) = [side for side in figures["sides"] if side["kind"] == "reference"]
    assert reference["ratio"] == 1
    assert picture.startswith(b"\x89PNG")


def test_it_says_on_what_and_how_near_the_limit(report):
    printed, figures, _ = report
    assert "clip.mp4, 320x180 h264" in printed
    assert figures["machine"]["processors"] == os.cpu_count()
    names = {side["name"] for side in figures["sides"] if side["kind"] == "framewise"}
    assert {share["name"] for share in figures["shares"]} <= names
    assert {"exact, torch float32", "fast, torch float32"} <= {share["name"] for share in figures["shares"]}
    assert all(share["share"] > 0 and share["bound"] > 0 for share in figures["shares"])
    assert figures["look_up"]["share"] > 0


def test_a_backbone_that_is_not_ultralytics_is_compared_with_one_of_theirs(tmp_path, video):
    backbones = Backbones(tmp_path / "models", tmp_path / "data")
    backbone = backbones.load(backbones.find(LITE0))
    assert usual_way(BenchParts(video, backbone, tmp_path, threads=2))() == 40
