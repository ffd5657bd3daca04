"""``framewise backbone`` shows a network's facts."""

import hashlib
import json

import pytest

from framewise.commands.cli import main
from framewise.features.kinds.lite0 import LITE0


@pytest.fixture
def folders(models_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_ROOT", str(models_folder))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return models_folder


def test_a_networks_facts_are_shown(folders, capsys):
    assert main(["backbone", LITE0]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == LITE0
    told = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    assert told["licence"] == "Apache-2.0"
    assert told["pictures"] == "224 x 224"
    assert told["features"] == "1280 numbers a picture"
    assert told["classes"] == "1000: tench, goldfish, great_white_shark, tiger_shark, ..."
    assert float(told["cost"].split()[0]) > 0


def test_facts_as_json_have_all_classes_and_the_files(folders, capsys):
    assert main(["backbone", "tiny-cls.pt", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    path = folders / "tiny-cls.pt"
    assert facts["files"] == [str(path)]
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["bytes"] == path.stat().st_size
    assert facts["kind"] == "Ultralytics classification checkpoint"
    assert len(facts["classes"]) >= 2


def test_a_mistyped_name_suggests_the_right_one(folders, capsys):
    assert main(["backbone", "yolov8-n-cls.pt"]) == 2
    assert "did you mean 'yolov8n-cls.pt'?" in capsys.readouterr().err
    assert main(["backbone", "efficientnet-lite-0"]) == 2
    assert f"did you mean '{LITE0}'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["weights.pth", "pytorch_model.bin"])
def test_pickles_are_refused(folders, capsys, name):
    (folders / name).write_bytes(b"")
    assert main(["backbone", name]) == 2
    assert "are pickles, which could run code" in capsys.readouterr().err
