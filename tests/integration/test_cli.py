"""The ``framewise`` command, as a process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from framewise import __version__
from framewise.settings import describe_settings
from tests.integration.service import OFFLINE, OUR_VARIABLES


@pytest.fixture
def framewise(tmp_path):
    """Runs the command in a folder of its own, without settings from outside."""

    def run(*args, **settings):
        env = {name: value for name, value in os.environ.items() if name not in OUR_VARIABLES}
        env |= {name: str(tmp_path / name.lower()) for name in ("MODEL_ROOT", "CACHE_DIR", "DATA_DIR")}
        env |= {"PYTHONPATH": os.pathsep.join([str(OFFLINE), str(Path(__file__).parents[2])]), "COLUMNS": "200", **settings}
        command = [sys.executable, "-m", "framewise", *args]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return run


def assert_one_line(done, *texts):
    """Refused, with one line that says all of ``texts`` and nothing on standard output."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("framewise: ")
    assert [text for text in texts if text not in line] == []


def test_help_names_the_commands(framewise):
    done = framewise("--help")
    assert (done.returncode, done.stderr) == (0, "")
    names = (
        "serve",
        "work",
        "backbone",
        "versions",
        "roll-back",
        "unpin",
        "forget",
        "train",
        "evaluate",
        "predict",
        "bench",
        "migrate",
        "demo",
    )
    assert [name for name in names if not re.search(rf"^    {name}\s", done.stdout, re.MULTILINE)] == []


def test_serves_help_has_a_flag_for_every_setting(framewise):
    shown = framewise("serve", "--help").stdout
    flags = ["--" + name.lower().replace("_", "-") for name, _, _ in describe_settings()]
    assert [flag for flag in flags if f"{flag} VALUE" not in shown] == []


def test_version_is_printed(framewise):
    assert framewise("--version").stdout.strip() == __version__


@pytest.mark.parametrize("args", [[], ["dance"], ["serve", "--no-such-flag", "1"]], ids=" ".join)
def test_a_command_line_that_is_none_is_refused_with_the_usage(framewise, args):
    done = framewise(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: framewise")


@pytest.mark.parametrize(
    ("args", "texts"),
    [
        (["--port", "abc"], ["PORT", "'abc'"]),
        (["--model-score-threshold", "2"], ["MODEL_SCORE_THRESHOLD", "from 0 to 1"]),
        (["--local-files-roots", "videos"], ["LOCAL_FILES_ROOTS", "absolute", "'videos'"]),
        (["--basic-auth-user", "studio"], ["BASIC_AUTH_USER and BASIC_AUTH_PASS"]),
        (["--log-level", "LOUD"], ["LOG_LEVEL", "DEBUG, INFO, WARNING or ERROR"]),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) and value[0].startswith("--") else "",
)
def test_serve_refuses_a_bad_setting_in_one_line(framewise, args, texts):
    assert_one_line(framewise("serve", *args), *texts)


def test_a_bad_variable_of_the_environment_is_refused_alike_and_a_flag_is_stronger(framewise):
    assert_one_line(framewise("serve", PORT="abc"), "PORT", "'abc'")
    assert_one_line(framewise("serve", "--port", "xyz", PORT="abc"), "PORT", "'xyz'")
    assert_one_line(framewise("work", MODEL_SCORE_THRESHOLD="high"), "MODEL_SCORE_THRESHOLD", "'high'")


def test_serve_with_a_backbone_that_is_not_there_says_where_to_put_it(framewise, tmp_path):
    assert_one_line(framewise("serve", "--model-path", "nope.pt"), "'nope.pt'", "models folder", "put the file there")


@pytest.mark.parametrize("name", ["../nope.pt", "/etc/passwd", "https://example.com/x.pt"])
def test_serve_with_a_backbone_outside_the_models_folder_is_refused(framewise, name):
    assert_one_line(framewise("serve", "--model-path", name), repr(name), "models folder")


def test_a_backbone_that_cannot_be_fetched_is_one_line_with_the_cure(framewise, tmp_path):
    """No network: a proxy's address at which nobody listens stands for a machine without internet."""
    done = framewise("backbone", "yolov8n-cls.pt", HTTPS_PROXY="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9")
    assert_one_line(done, "'yolov8n-cls.pt'", "could not be fetched", "Put the file into the models folder")
    assert not list((tmp_path / "model_root").glob("*.pt"))


def test_the_command_backbone_shows_where_a_file_is(framewise, tmp_path, backbone):
    (tmp_path / "model_root").mkdir()
    (tmp_path / "model_root" / backbone.name).write_bytes(backbone.read_bytes())
    done = framewise("backbone", backbone.name)
    assert done.returncode == 0
    assert str(tmp_path / "model_root" / backbone.name) in done.stdout
