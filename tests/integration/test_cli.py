"""The ``framewise`` command, as a process."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from framewise import __version__
from framewise.demo.backend_server import free_port
from framewise.demo.environment import LABEL_STUDIO_VERSION, READY
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
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=6000)

    return run


def assert_one_line(done, *texts):
    """Refused, with one line that says all of ``texts`` and nothing on standard output."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("framewise: ")
    assert [text for text in texts if text not in line] == []


@pytest.mark.parametrize("args", [[], ["--help"]], ids=["bare", "--help"])
def test_help_names_the_commands(framewise, args):
    done = framewise(*args)
    assert (done.returncode, done.stderr) == (0, "")
    names = "serve work jobs versions roll-back unpin forget cache backbone train evaluate predict extract migrate sync series"
    names = [*names.split(), "bench", "demo", "completion"]
    assert [name for name in names if not re.search(rf"^    {name}\s", done.stdout, re.MULTILINE)] == []


def test_serves_help_has_a_flag_for_every_setting_but_secrets(framewise):
    shown = framewise("serve", "--help").stdout
    flags = {"--" + name.lower().replace("_", "-") for name, _, _ in describe_settings()}
    secret = {"--basic-auth-pass", "--webhook-token", "--label-studio-api-key", "--queue-url"}
    assert [flag for flag in flags - secret if f"{flag} VALUE" not in shown] == []
    assert [flag for flag in secret if flag in shown] == []


@pytest.mark.parametrize("flag", ["--label-studio-api-key", "--queue-url=redis://:secret@host"])
def test_a_secret_on_the_command_line_is_refused_and_its_variable_named(framewise, flag):
    done = framewise("serve", flag, "abc")
    assert done.returncode == 2
    name = flag.partition("=")[0]
    variable = name.removeprefix("--").replace("-", "_").upper()
    assert f"{name} is not a flag of this command; set the environment variable {variable}" in done.stderr
    assert "secret" not in done.stderr


def test_version_is_printed(framewise):
    assert framewise("--version").stdout.strip() == __version__


@pytest.mark.parametrize("args", [["dance"], ["sync", "dance"], ["serve", "--no-such-flag", "1"]], ids=" ".join)
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
    assert_one_line(
        framewise("serve", "--model-path", "nope.pt", PORT=str(free_port())), "'nope.pt'", "models folder", "put the file there"
    )


@pytest.mark.parametrize("name", ["../nope.pt", "/etc/passwd", "https://example.com/x.pt"])
def test_serve_with_a_backbone_outside_the_models_folder_is_refused(framewise, name):
    assert_one_line(framewise("serve", "--model-path", name, PORT=str(free_port())), repr(name), "models folder")


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


def test_a_port_in_use_is_one_line_that_names_the_flag_before_anything_is_fetched(framewise, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert_one_line(framewise("serve", PORT=port), f"port {port} of 127.0.0.1 is in use", "--port")
        assert not (tmp_path / "model_root").exists()


def test_an_address_of_another_machine_is_one_line_that_names_the_flag(framewise):
    assert_one_line(framewise("serve", "--host", "192.0.2.1", PORT="9090"), "192.0.2.1", "--host")


@pytest.mark.parametrize(
    "args",
    [
        ["train", "gone.json"],
        ["evaluate", "gone.json", "--config", "c.xml"],
        ["predict", "gone.json", "--output", "out.json"],
        ["extract", "gone"],
        ["bench", "gone.mp4"],
        ["migrate", "gone.json", "--config", "c.xml"],
        ["sync", "labels", "gone.json", "gone.json", "--config", "c.xml", "--output", "out.json"],
        ["sync", "apply", "gone.json"],
    ],
    ids=lambda args: " ".join(args),
)
def test_a_missing_file_is_said_before_anything_is_downloaded(framewise, tmp_path, args):
    assert_one_line(framewise(*args), "cannot read gone", "No such file or directory")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flags", "variable"), [(["--label-studio", "gone"], ""), ([], "gone")])
def test_a_demo_without_its_label_studio_is_refused_before_anything_is_made(framewise, tmp_path, flags, variable):
    done = framewise("demo", *flags, LABEL_STUDIO=variable, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert_one_line(done, "--label-studio" if flags else "LABEL_STUDIO", "gone is not a program", str(tmp_path / "cache"))
    assert list(tmp_path.iterdir()) == []


def test_a_label_studio_that_cannot_be_installed_is_told_with_the_cure_and_where_the_log_is(framewise, tmp_path):
    """pip may ask no index: it stands for a machine without internet."""
    done = framewise("demo", LABEL_STUDIO="", XDG_CACHE_HOME=str(tmp_path), PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert done.returncode == 2
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("framewise: ")]
    log = tmp_path / "framewise" / f"label-studio-{LABEL_STUDIO_VERSION}.log"
    for text in ("installing Label Studio failed", "--label-studio", str(log)):
        assert text in told
    assert "No matching distribution found" in done.stderr
    assert not list(tmp_path.rglob(READY))


def test_a_file_that_cannot_be_written_is_said_before_anything_is_downloaded(framewise, tmp_path):
    (tmp_path / "t.json").write_text("[]")
    assert_one_line(framewise("predict", "t.json", "--output", "nowhere/out.json"), "cannot write nowhere/out.json")
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize("args", [["--help"], ["serve", "--help"], ["completion", "bash"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_any_more_ends_quietly(tmp_path, args, unbuffered):
    """As in `framewise ... | head -1`, where head is gone already."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "framewise", *args]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, env=env, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=600)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141 or "--help" in args  # argparse itself takes no notice
