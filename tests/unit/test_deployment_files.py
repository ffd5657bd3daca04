"""Dockerfile and docker-compose.yml say what the code knows, and their commands run."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from framewise.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ["/app/models", "/app/cache_dir", "/app/data"]
START_SECONDS, STOP_SECONDS = 300, 300


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, arguments) in order, without comments and with continued lines joined."""
    lines = [line for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(i, a.strip()) for i, _, a in (line.strip().partition(" ") for line in joined.splitlines()) if i]


def last(instruction: str) -> str:
    return [arguments for name, arguments in dockerfile() if name == instruction][-1]


def healthcheck() -> list[str]:
    command: list[str] = json.loads(last("HEALTHCHECK").partition("CMD")[2])
    return command


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    return loaded


def setting_names() -> set[str]:
    return {item.name.upper() for item in fields(Settings)}


def is_ignored(path: str) -> bool:
    """By .dockerignore: the last rule that matches the path or a folder above it decides."""
    ignored = False
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        pattern = re.escape(rule.lstrip("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{pattern}(/.*)?", path):
            ignored = not rule.startswith("!")
    return ignored


def copied() -> list[str]:
    return [source for name, arguments in dockerfile() if name == "COPY" for source in shlex.split(arguments)[:-1]]


def test_compose_names_every_setting_and_nothing_else() -> None:
    assert set(compose()["services"]["framewise"]["environment"]) == setting_names()


def test_every_setting_in_compose_has_a_comment_above_it() -> None:
    lines = (REPOSITORY / "docker-compose.yml").read_text().splitlines()
    bare = [
        line.strip()
        for above, line in zip(lines, lines[1:], strict=False)
        if line.strip().partition(":")[0] in setting_names() and not above.strip().startswith("#")
    ]

    assert not bare


def test_settings_of_compose_are_accepted_where_the_environment_has_none() -> None:
    environment = compose()["services"]["framewise"]["environment"]
    values = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in environment.items()}

    settings = Settings.from_env(values)

    assert (settings.host, settings.port) == ("0.0.0.0", 9090)
    assert [str(f) for f in (settings.model_root, settings.cache_dir, settings.data_dir)] == FOLDERS


def test_compose_keeps_models_cache_and_data_outside_the_container() -> None:
    assert compose()["services"]["framewise"]["volumes"] == [f".{f.removeprefix('/app')}:{f}" for f in FOLDERS]
    assert json.loads(last("VOLUME")) == FOLDERS


@pytest.mark.parametrize("source", copied())
def test_what_the_image_copies_exists_and_is_sent_to_the_build(source: str) -> None:
    path = REPOSITORY / source

    assert path.exists()
    assert not is_ignored(source)
    inside = [p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert not [p for p in inside if is_ignored(str(p.relative_to(REPOSITORY)))]


@pytest.mark.parametrize("path", [".git/config", ".venv/bin/python", "data/framewise.sqlite", "models/a.pt", ".env"])
def test_secrets_and_data_are_not_sent_to_the_build(path: str) -> None:
    assert is_ignored(path)


def test_the_image_has_everything_that_installing_the_package_reads() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    named = re.findall(r'"?((?:README|LICENSE)[\w.]*)"', project)

    assert {"README.md", "LICENSE"} == set(named)
    assert set(named) <= set(copied())


def test_the_user_of_the_image_is_not_root() -> None:
    assert last("USER") not in ("root", "0")
    assert not str(compose()["services"]["framewise"]["user"]).startswith(("root", "0"))


def test_the_image_listens_on_all_addresses() -> None:
    assert "HOST=0.0.0.0" in last("ENV")


def test_start_command_and_healthcheck_of_the_image_run_and_stop_without_leaving_a_child(
    server: tuple[int, "subprocess.Popen[bytes]"],
) -> None:
    port, process = server

    check = [sys.executable, *healthcheck()[1:]]
    assert healthcheck()[0] == "python"
    assert subprocess.run(check, env={"PORT": str(port)}, timeout=60).returncode == 0

    family = [process.pid, *descendants(process.pid)]
    assert len(family) >= 4  # itself, gunicorn, a web process, the worker
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=STOP_SECONDS) == 0
    assert not [pid for pid in family if is_alive(pid)]
    assert subprocess.run(check, env={"PORT": str(port)}, timeout=10, stderr=subprocess.DEVNULL).returncode != 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """(port, process) of the image's start command, run outside of a container, once it answers."""
    program, *arguments = json.loads(last("CMD"))
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PORT": str(port),
        "WORKERS": "1",
        "MODEL_PATH": "efficientnet-lite0",
        "MODEL_ROOT": str(tmp_path / "models"),
        "CACHE_DIR": str(tmp_path / "cache_dir"),
        "DATA_DIR": str(tmp_path / "data"),
    }
    log = tmp_path / "log"
    with log.open("wb") as out:
        command = [str(Path(sys.executable).parent / program), *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=out)
    try:
        wait_until_up(port, process, log)
        yield port, process
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def wait_until_up(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                assert json.load(answer)["status"] == "UP"
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"no answer on /health:\n{log.read_text()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status_of(pid: int) -> tuple[str, int] | None:
    """(state, parent) of a process, from /proc; None if it is gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return after_name[0], int(after_name[1])


def is_alive(pid: int) -> bool:
    status = status_of(pid)
    return status is not None and status[0] != "Z"


def descendants(pid: int) -> list[int]:
    parents = {p: s[1] for p in map(int, filter(str.isdecimal, os.listdir("/proc"))) if (s := status_of(p))}
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        children = [p for p, its_parent in parents.items() if its_parent == parent]
        found += children
        todo += children
    return found
