"""``framewise extract``, as a process: many videos, with real processes that are really killed."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from framewise.bulk.extracting import Workplace as Place
from framewise.bulk.videos import find
from framewise.core.progress import silent
from framewise.features.cache import CHUNK_PICTURES
from framewise.settings import Settings
from tests.index_clips import copy_distinct
from tests.integration.service import wait_for
from tests.integration.test_offline import Workplace
from tests.process_tree import descendants, is_alive
from tests.videos import cut, write_sound

LONG = CHUNK_PICTURES + 300  # pictures of a video whose first chunk is stored well before its last

_numbers = itertools.count(1_000_000)


@pytest.fixture
def workplace(tmp_path, backbone, videos):
    return Workplace(tmp_path / "workplace", backbone, videos)


@pytest.fixture
def folder(tmp_path):
    """A folder of videos, below no folder that the settings allow to read."""
    made = tmp_path / "media"
    made.mkdir()
    return made


@pytest.fixture
def add(folder, make_clip):
    """Puts a video of so many pictures, whose content no other has, into the folder."""
    originals = {}

    def put(name, num_frames=24):
        original = originals.setdefault(num_frames, make_clip(num_frames))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return copy_distinct(original, path, next(_numbers))

    return put


def start(workplace, *args, **settings):
    command = [sys.executable, "-m", "framewise", "extract", *map(str, args)]
    env = {**workplace.env, **settings}
    return subprocess.Popen(command, env=env, cwd=workplace.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def extracting(process):
    """Ids of the processes that extract."""
    return [pid for pid, command in descendants(process.pid).items() if "spawn_main" in command]


def at_work(process):
    """Ids of those that have a video open."""
    return [pid for pid in extracting(process) if any(name.endswith(".mp4") for name in open_files(pid))]


def open_files(pid):
    with contextlib.suppress(FileNotFoundError):
        return [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    return []


def chunks(cache):
    """Path below the cache -> array, of all chunks of features."""
    return {str(path.relative_to(cache)): np.load(path) for path in cache.rglob("features_chunk/*/output.npy")}


def stored(cache):
    return {path: path.stat().st_mtime_ns for path in cache.rglob("features_chunk/*/output.npy")}


def assert_as_in_a_straight_run(found, workplace, folder):
    """The chunks are those that one process computes without being disturbed."""
    cache = workplace.folder / "straight"
    names = {"MODEL_ROOT": workplace.models, "DATA_DIR": workplace.data, "CACHE_DIR": cache}
    env = {**{name: str(path) for name, path in names.items()}, "MODEL_PATH": workplace.env["MODEL_PATH"]}
    env["EXTRACTION_ENGINE"] = workplace.env["EXTRACTION_ENGINE"]
    videos = find(Settings.from_env(env), folder, None, None)
    place = Place(videos.settings)
    for video in videos.videos:
        assert place.extract(video, silent).state == "extracted"
    expected = chunks(cache)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_folder_is_extracted_and_what_cannot_be_is_named(workplace, folder, add):
    add("a.mp4"), add("sub/b.MP4"), cut(add("cut.mp4", 240), 0.3)
    shutil.copy(folder / "a.mp4", folder / "sub" / "copy of a.mp4")
    write_sound(folder / "sound.mp4")
    (folder / "notes.txt").write_text("no video")

    done = workplace.run("extract", folder)

    assert done.returncode == 1, done.stderr
    told = done.stdout.splitlines()
    assert told[0].split(": ", 1)[0].startswith("5 videos in ")
    assert "2 extracted (48 pictures, " in told[0]
    assert ", 0 cached before, 1 the same as another, 2 failed" in told[0]
    assert [line.split(": ")[0] for line in told[1:]] == ["  cut.mp4", "  sound.mp4"]
    assert "is the upload complete?" in told[1]
    assert "expected a video stream" in told[2]

    before = stored(workplace.folder / "cache")
    again = workplace.run("extract", folder)
    assert "0 extracted, 2 cached before, 1 the same as another, 2 failed" in again.stdout
    assert again.returncode == 1
    assert stored(workplace.folder / "cache") == before


def test_a_process_that_is_killed_is_replaced_and_its_video_done(workplace, folder, add):
    add("long.mp4", LONG), add("b.mp4", LONG)
    cache = workplace.folder / "cache"
    with start(workplace, folder, "--jobs", "2") as running:
        wait_for(lambda: len(stored(cache)) >= 2, "chunks are stored")
        before = stored(cache)
        os.kill(extracting(running)[0], signal.SIGKILL)
        out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert "2 extracted" in out
    assert before.items() <= stored(cache).items()
    assert_as_in_a_straight_run(chunks(cache), workplace, folder)


def test_a_video_that_ends_its_process_twice_is_reported_and_the_others_are_done(workplace, folder, add):
    """The one process is killed at what it has first, which is the long video: others are done after it."""
    add("a long one.mp4", LONG), add("b.mp4"), add("c.mp4")
    killed = []
    with start(workplace, folder, "--jobs", "1") as running:
        for _ in range(2):
            (pid,) = wait_for(lambda: set(at_work(running)) - set(killed), "a process has the long video in hand")
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        out, err = running.communicate(timeout=300)
    assert running.returncode == 1, err
    assert "2 extracted (48 pictures" in out
    assert out.splitlines()[1].startswith(
        "  a long one.mp4: its process was killed by signal 9, 2 times; is there enough memory?"
    )
    assert len(set(killed)) == 2


def test_an_interruption_ends_all_processes_and_says_what_is_done(workplace, folder, add):
    add("a.mp4"), add("long.mp4", LONG)
    cache = workplace.folder / "cache"
    with start(workplace, folder, "--jobs", "1") as running:
        wait_for(lambda: len(stored(cache)) >= 2, "the first video and a chunk are stored")
        processes = extracting(running)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=300)
    assert (running.returncode, err.splitlines()[-1]) == (130, "framewise: interrupted")
    assert "Traceback" not in err
    assert "1 extracted (24 pictures" in out
    assert "0 failed, 1 not done" in out
    wait_for(lambda: not any(is_alive(pid) for pid in processes), "the end of the processes")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("paused", [False, True], ids=["at work", "paused"])
def test_its_processes_end_with_it(workplace, folder, add, how, paused):
    """At work, a process has a long video in hand; paused, it would wait for room for ever."""
    add("a.mp4", LONG)
    with start(workplace, folder, "--jobs", "1", MIN_FREE_DISK_BYTES=str(10**15 if paused else 0)) as running:
        wait_for(lambda: extracting(running) if paused else at_work(running), "a process extracts")
        if paused:
            assert running.stderr.readline().startswith("framewise: paused: ")
        processes = descendants(running.pid)
        running.send_signal(how)
        wait_for(lambda: not any(is_alive(pid) for pid in processes), "the end of the processes")
        out, err = running.communicate(timeout=60)
    assert "Traceback" not in err
    if how == signal.SIGTERM:
        assert (running.returncode, err.splitlines()[-1]) == (130, "framewise: interrupted")
        assert "1 not done" in out
    else:
        assert running.returncode == -how


def test_while_the_disk_has_too_little_room_it_pauses(workplace, folder, add):
    """More is to stay free than the disk has, and then less: the same command is started twice."""
    add("a.mp4")
    with start(workplace, folder, "--jobs", "1", MIN_FREE_DISK_BYTES=str(10**15)) as running:
        line = running.stderr.readline()
        assert line.startswith("framewise: paused: ")
        assert "MIN_FREE_DISK_BYTES" in line
        assert str(workplace.folder / "cache") in line
        running.send_signal(signal.SIGINT)
        assert "1 not done" in running.communicate(timeout=300)[0]
    assert stored(workplace.folder / "cache") == {}
    assert workplace.run("extract", folder, MIN_FREE_DISK_BYTES="0").returncode == 0
