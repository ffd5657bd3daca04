"""``framewise extract --dask``, on a real Dask scheduler with real workers, one of which is really killed."""

import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from framewise import __version__
from framewise.bulk import cluster as cluster_module
from framewise.bulk.cluster import TOKEN, Share, begun_name, extract_at_worker, extract_on_cluster, problem_at_worker, shared
from framewise.bulk.videos import find
from framewise.core.errors import SettingsError
from framewise.processes import start_child, stop_child
from framewise.settings import Settings
from tests.integration.service import wait_for
from tests.integration.test_extract import (
    LONG,
    add,
    assert_as_in_a_straight_run,
    chunks,
    folder,
    open_files,
    start,
    stored,
    workplace,
)

__all__ = ["add", "folder", "workplace"]  # fixtures

pytest.importorskip("distributed", reason="there is no Dask; pip install 'framewise[dask]'")


class Cluster:
    """A scheduler and workers of one thread each, as processes of their own."""

    def __init__(self, folder, env, workers):
        self._env, self._folder, self._log = env, folder, (folder / "cluster.txt").open("ab")
        self._children = [self._start("scheduler", "--port", "0")]
        address = wait_for(self._address, "the scheduler listens")
        self.address = address
        self.workers = [self._start("worker", address, "--nthreads", "1", "--no-nanny") for _ in range(workers)]
        wait_for(lambda: self.log().count("Registered to:") == workers, "the workers are there")

    def _start(self, what, *args):
        command = [sys.executable, "-m", "dask", what, *args, "--no-dashboard", "--host", "127.0.0.1"]
        return start_child(command, self._env, cwd=self._folder, log=self._log)

    def _address(self):
        return next((line.split()[-1] for line in self.log().splitlines() if "Scheduler at:" in line), None)

    def log(self):
        return (self._folder / "cluster.txt").read_text()

    def stop(self):
        for child in [*self.workers, *self._children]:
            stop_child(child)
        self._log.close()


@pytest.fixture
def cluster(workplace):
    running = Cluster(workplace.folder, workplace.env, workers=2)
    yield running
    running.stop()


class Watch(threading.Thread):
    """Notes when files of the cache are written: a chunk that is made twice has two times."""

    def __init__(self, cache):
        super().__init__(daemon=True)
        self.times = {}
        self._cache, self._ended = cache, threading.Event()

    def run(self):
        while not self._ended.wait(0.02):
            self.look()

    def look(self):
        for path, time in stored(self._cache).items():
            self.times.setdefault(path, set()).add(time)

    def stop(self):
        self._ended.set()
        self.join()
        self.look()


def test_a_cluster_does_every_video_once_though_a_worker_is_killed(cluster, workplace, folder, add):
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        add(name, LONG)
    cache = workplace.folder / "cache"
    watch = Watch(cache)
    watch.start()
    with start(workplace, folder, "--dask", cluster.address) as running:
        wait_for(lambda: all(has_video(worker.pid) for worker in cluster.workers), "both workers have a video in hand")
        os.kill(cluster.workers[0].pid, signal.SIGKILL)
        out, err = running.communicate(timeout=300)
    watch.stop()
    assert running.returncode == 0, err + cluster.log()
    assert "4 videos in " in out
    assert ", 0 failed" in out
    assert "not done" not in out
    assert len(watch.times) == 8  # two chunks of each
    assert {path: times for path, times in watch.times.items() if len(times) > 1} == {}
    assert not list((cache / "runs").iterdir())
    assert_as_in_a_straight_run(chunks(cache), workplace, folder)


def has_video(pid):
    return any(name.endswith(".mp4") for name in open_files(pid))


@pytest.fixture
def settings(tmp_path, backbone):
    models = tmp_path / "models"
    models.mkdir()
    (models / backbone.name).write_bytes(backbone.read_bytes())
    folders = {"model_root": models, "cache_dir": tmp_path / "cache", "data_dir": tmp_path / "data"}
    return Settings(**folders, model_path=backbone.name, extraction_engine="torch")


@pytest.fixture
def found(settings, folder, add):
    settings.cache_dir.mkdir()
    add("a.mp4")
    return find(settings, folder, None, None)


@pytest.fixture
def share(found):
    """The numbers that a client tells its workers."""
    run = found.settings.cache_dir / "runs" / "1"
    run.mkdir(parents=True)
    (run / TOKEN).write_text("x")
    sample = (found.videos[0].source, Path(found.videos[0].source).stat().st_size)
    return Share(run, "x", __version__, tuple(found.settings.to_env().items()), (sample,), found.videos[0].wanted)


def test_without_a_scheduler_it_says_so(found, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1)
    with pytest.raises(SettingsError, match=r"--dask tcp://127.0.0.1:1: no Dask scheduler answers there .* dask scheduler"):
        next(extract_on_cluster(found.settings, found.videos, "tcp://127.0.0.1:1"))


def test_a_worker_that_cannot_do_it_says_what_it_does_not_see(share, found):
    (path, size), (wanted,) = share.samples[0], share.wanted
    elsewhere = found.settings.cache_dir.parent / "elsewhere" / "runs" / "1"
    problems = {
        "": share,
        f"CACHE_DIR at {elsewhere.parent.parent} (No such file or directory); mount": replace(share, folder=elsewhere),
        f"CACHE_DIR at {found.settings.cache_dir} (x); mount": replace(share, token="y"),
        "does not see /gone/a.mp4 as the client does (No such file": replace(share, samples=(("/gone/a.mp4", 3),)),
        f"does not see {path} as the client does (it has {size} bytes there, and 5": replace(share, samples=((path, 5),)),
        "is not the expected file": replace(share, wanted=(replace(wanted, content="0" * 64),)),
        f"it has framewise {__version__}, the client 9.9": replace(share, version="9.9"),
    }
    for text, told in problems.items():
        problem = problem_at_worker(told)
        assert text in problem
        assert bool(text) == bool(problem)
    with pytest.raises(SettingsError, match="Dask worker .* does not see /gone/a.mp4"):
        extract_at_worker(found.videos[0], replace(share, samples=(("/gone/a.mp4", 3),)))


def test_a_video_at_which_two_workers_died_is_given_up(share, found):
    first = extract_at_worker(found.videos[0], share)
    assert (first.state, first.pictures) == ("extracted", 24)
    assert [path.name for path in share.folder.iterdir()] == [TOKEN]
    begun = share.folder / begun_name(found.videos[0])
    begun.write_text("one:12\ntwo:34\n")
    given_up = extract_at_worker(found.videos[0], share)
    assert given_up.state == "failed"
    assert given_up.reason == "workers died at it, at one:12 and two:34; is there enough memory?"


def test_secrets_do_not_go_through_a_cluster(found):
    secret = {"webhook_token": "s3cret-1", "label_studio_api_key": "s3cret-2", "queue_url": "redis://:s3cret-3@h"}
    with shared(replace(found.settings, **secret), found.videos) as share:
        assert "s3cret" not in repr(share)
        assert dict(share.values)["MODEL_PATH"] == found.settings.model_path
