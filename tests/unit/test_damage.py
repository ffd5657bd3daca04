"""Damaged files: flipped bytes in features and weights, records that are no JSON, databases cut or overwritten."""

import gc
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from framewise.assembly import Assembly
from framewise.commands.cli import main
from framewise.core.errors import ModelError, StorageDamaged
from framewise.features.cache import ABOUT, ARRAY, FeatureCache
from framewise.features.kinds.lite0 import LITE0
from framewise.foundation import open_database
from framewise.jobs import Jobs
from framewise.server.app import create_app
from framewise.settings import Settings
from framewise.store.database import DATABASE_NAME, Database
from framewise.store.job_state import JobStates
from framewise.store.registry import DAMAGED, Registry, check_version
from tests.messages import Project, labeling_config

KEY = ("content", "w" * 64, "fast")
PROJECT = "7.1795200057"


def flip(path: Path, place: int = -5) -> None:
    """Change one bit of a file, as a failing disk does, and not its time."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


# Features.


def numbers() -> np.ndarray:
    return np.arange(12, dtype=np.float32).reshape(3, 4)


def chunk(cache: FeatureCache) -> np.ndarray:
    return np.array(cache.chunk(KEY, 0, numbers))


def array_of(folder: Path) -> Path:
    (path,) = (folder / "joblib").rglob(ARRAY)
    return path


@pytest.mark.parametrize("place", [-5, 60], ids=["in the numbers", "in the header"])
def test_a_flipped_bit_in_features_is_noticed_and_they_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    chunk(FeatureCache(tmp_path))
    flip(array_of(tmp_path), place)
    cache = FeatureCache(tmp_path)
    assert not cache.has_chunk(KEY, 0)
    np.testing.assert_array_equal(chunk(cache), numbers())
    assert cache.has_chunk(KEY, 0)
    assert "are damaged" in caplog.text


def test_a_readable_array_of_another_shape_is_noticed(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    chunk(cache)
    np.save(array_of(tmp_path), np.zeros((9, 1), np.float32))
    assert not cache.has_chunk(KEY, 0)


def test_damaged_times_are_noticed(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.times("content", lambda: np.arange(5))
    flip(array_of(tmp_path))
    assert not cache.has_times("content")


def test_features_from_before_checksums_are_used_as_they_are(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    chunk(cache)
    about = array_of(tmp_path).with_name(ABOUT)
    told = json.loads(about.read_text())
    del told["crc32"]
    about.write_text(json.dumps(told))
    assert FeatureCache(tmp_path).has_chunk(KEY, 0)


# Versions.


def publish(registry: Registry, number: int, text: str = "weights") -> Path:
    name = f"v{number}-20260101T0000{number:02}Z"
    return registry.publish(PROJECT, "tl", name, {}, lambda folder: (folder / "weights").write_text(text) and None).folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", Database(tmp_path / "data" / DATABASE_NAME))


def test_a_version_whose_files_changed_is_told_apart(registry: Registry) -> None:
    folder = publish(registry, 1)
    check_version(folder)
    flip(folder / "weights", 2)
    with pytest.raises(ModelError, match=r"weights is damaged: it is not as it was written"):
        check_version(folder)
    (folder / "weights").unlink()
    with pytest.raises(ModelError, match="weights is damaged"):
        check_version(folder)


def test_a_damaged_version_is_passed_over_for_the_last_good_one_and_that_is_said(registry: Registry, tmp_path: Path) -> None:
    good, bad = publish(registry, 1), publish(registry, 2)
    registry.set_aside(PROJECT, "tl", bad, "a bit flipped")
    assert registry.current(PROJECT, "tl") == good
    assert not bad.exists()
    assert len(list(bad.parent.glob(f"{DAMAGED}{bad.name}-*"))) == 1
    states = JobStates(Database(tmp_path / "data" / DATABASE_NAME))
    (told,) = states.overview()["jobs"]
    assert told["error"] == (
        f"version {bad.name} of 'tl' cannot be used any more (a bit flipped); {good.name} is used in its place"
    )
    registry.set_aside(PROJECT, "tl", good, "and another one")
    assert registry.current(PROJECT, "tl") is None


def test_versions_are_ordered_by_number_also_after_a_clock_that_jumped(registry: Registry) -> None:
    for name in ("v9-20260101T000000Z", "v10-20200101T000000Z", "v11-20250101T000000Z"):
        registry.publish(PROJECT, "tl", name, {}, lambda folder: (folder / "weights").write_text("w") and None)
    assert [version["version"].split("-")[0] for version in registry.versions(PROJECT)] == ["v11", "v10", "v9"]


def test_a_record_that_is_no_json_concerns_its_version_alone(registry: Registry) -> None:
    publish(registry, 1)
    (publish(registry, 2) / "version.json").write_text("{")
    assert [version["version"].split("-")[0] for version in registry.versions(PROJECT)] == ["v1"]


# Databases.


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    folders = {name: tmp_path / name for name in ("model_root", "cache_dir", "data_dir")}
    return Settings(**folders, model_path=LITE0)


MAKE = "import os; from framewise import foundation, settings; foundation.open_database(settings.Settings.from_env(os.environ))"


def make_database(own: Settings) -> Path:
    """Make the database in a process of its own: a connection of this one might write it anew when it is closed."""
    subprocess.run([sys.executable, "-c", MAKE], env={**os.environ, **own.to_env()}, check=True)
    return own.data_dir / DATABASE_NAME


def overwrite(path: Path, start: int = 0) -> None:
    gc.collect()  # connections that nobody has any more
    content = bytearray(path.read_bytes())
    content[start:] = b"\xa5" * (len(content) - start)
    path.write_bytes(content)
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)


def test_a_damaged_database_is_told_in_one_message_with_the_way_to_the_back_up(
    own: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    overwrite(make_database(own))
    with pytest.raises(StorageDamaged, match="the database is damaged .*Back-up and restore"):
        open_database(own)
    for name in ("model_root", "cache_dir", "data_dir"):
        monkeypatch.setenv(name.upper(), str(getattr(own, name)))
    assert main(["versions"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_health_check_says_that_the_database_is_damaged(own: Settings) -> None:
    client = create_app(own).test_client()
    assert client.get("/health").status_code == 200
    overwrite(own.data_dir / DATABASE_NAME)
    answer = client.get("/health")
    assert answer.status_code == 503
    assert "the database is damaged" in answer.get_json()["error"]


def test_an_empty_database_beside_versions_is_no_new_one(own: Settings) -> None:
    path = make_database(own)
    (own.model_root / "timelinelabels-7" / "v1").mkdir(parents=True)
    (own.model_root / "timelinelabels-7" / "v1" / "version.json").write_text("{}")
    path.write_bytes(b"")
    with pytest.raises(StorageDamaged, match="the database is empty although .* has trained versions"):
        open_database(own)
    path.unlink()
    assert open_database(own).problems() == []


def test_a_damaged_queue_is_set_aside_and_made_anew(own: Settings) -> None:
    assembly = Assembly(own)
    number = assembly.jobs.submit("train", PROJECT, "all", {})
    path = own.data_dir / "queue.sqlite"
    overwrite(path)
    jobs = Jobs(assembly.jobs.states, path)
    assert len(list(path.parent.glob("queue.sqlite.damaged-*"))) == 1
    jobs.announce(number, "train")
    assert jobs.states.due() == [(number, "train")]


# The command.


def test_check_names_what_is_damaged_and_its_exit_code_says_so(
    own: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model_root", "cache_dir", "data_dir"):
        monkeypatch.setenv(name.upper(), str(getattr(own, name)))
    version = publish(Registry(own.model_root, open_database(own)), 1)
    chunk(FeatureCache(own.cache_dir))
    assert main(["check"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "database: nothing damaged", "trained versions: nothing damaged", "cached features: nothing damaged",
    ]  # fmt: skip
    flip(version / "weights", 2)
    flip(array_of(own.cache_dir))
    assert main(["check"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[1] == f"{version / 'weights'} is damaged: it is not as it was written"
    assert told[3] == f"{array_of(own.cache_dir)}: not as it was written; it is made again when it is needed"
    overwrite(own.data_dir / DATABASE_NAME)
    assert main(["check"]) == 1
    assert "the database is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "versions", "jobs"])
def test_a_command_makes_no_new_database_of_an_empty_one_beside_versions(
    own: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in ("model_root", "cache_dir", "data_dir"):
        monkeypatch.setenv(name.upper(), str(getattr(own, name)))
    path = make_database(own)
    (own.model_root / "timelinelabels-7" / "v1").mkdir(parents=True)
    (own.model_root / "timelinelabels-7" / "v1" / "version.json").write_text("{}")
    path.write_bytes(b"")
    assert main([command]) != 0
    written = capsys.readouterr()
    assert "the database is empty although" in written.out + written.err
    assert path.stat().st_size == 0


@pytest.mark.parametrize("new_thread", [False, True], ids=["the same thread", "a thread without a connection"])
@pytest.mark.parametrize("gone", ["the folder", "the file"])
def test_data_that_was_deleted_while_running_is_answered_with_507(own: Settings, gone: str, new_thread: bool) -> None:
    client = create_app(own).test_client()
    event = Project(labeling_config("Walk")).event("PROJECT_UPDATED")
    assert client.post("/webhook", json=event).status_code == 200
    if gone == "the folder":
        shutil.rmtree(own.data_dir)
    else:
        for path in own.data_dir.glob(f"{DATABASE_NAME}*"):
            path.unlink()
    if new_thread:
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(client.post, "/webhook", json=event).result()
    else:
        answer = client.post("/webhook", json=event)
    assert answer.status_code == 507
    assert "the database was removed or replaced while framewise runs" in answer.get_json()["error"]
    assert client.get("/health").status_code == 507
    assert not (own.data_dir / DATABASE_NAME).exists()
