"""Files and folders that appear as a whole, disks that are full, and locks between processes."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from framewise.core.errors import StorageFull
from framewise.core.storage import (
    acquire,
    become_exclusive,
    folder_written_atomically,
    full_disk_explained,
    is_locked,
    locked,
    try_acquire,
    write_json,
    written_atomically,
)

HOLD = """
import sys, time
from pathlib import Path
from framewise.core.storage import acquire
acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def write(path, text, then):
    """Begin to write a file, and end with an error."""
    with written_atomically(path) as part:
        part.write_text(text)
        raise then


def write_to_full_disk(path):
    with written_atomically(path) as part:
        part.symlink_to("/dev/full")
        part.write_text("{}")


def write_folder(path, then):
    with folder_written_atomically(path) as folder:
        (folder / "a").write_text("x")
        raise then


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    with written_atomically(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.suffix == ".txt"

    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_could_not_be_written_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(KeyboardInterrupt):
        write(path, "ne", KeyboardInterrupt())

    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_named_with_the_file_and_keeps_no_part(tmp_path):
    with pytest.raises(StorageFull, match=r"a\.json: no room on the disk; make room there"):
        write_to_full_disk(tmp_path / "a.json")

    assert names(tmp_path) == []


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), written_atomically(tmp_path / "missing" / "a") as part:
        part.write_text("x")
    with pytest.raises(OSError, match="Read-only"), full_disk_explained("a"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_small_json_file_makes_its_folder(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"a": [1, None]})

    assert (tmp_path / "new" / "a.json").read_text() == '{"a": [1, null]}'
    assert names(tmp_path / "new") == ["a.json"]


def test_a_folder_has_its_name_when_it_is_whole(tmp_path):
    (tmp_path / "out").mkdir()  # an empty one may be there

    with folder_written_atomically(tmp_path / "out") as folder:
        (folder / "a").write_text("x")
        assert names(tmp_path / "out") == []

    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["a"]


def test_a_folder_that_could_not_be_written_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="bad"):
        write_folder(tmp_path / "out", ValueError("bad"))

    assert names(tmp_path) == []


def test_a_lock_is_for_one_and_a_shared_one_for_those_who_share_it(tmp_path):
    path = tmp_path / "a.lock"

    with locked(path):
        assert try_acquire(path) is None
        assert try_acquire(path, shared=True) is None
        assert is_locked(path)
    with locked(path, shared=True):
        other = try_acquire(path, shared=True)
        assert other is not None
        assert try_acquire(path) is None
        os.close(other)
    assert not is_locked(path)


def test_nobody_holds_a_lock_whose_file_is_not_there_and_asking_does_not_make_it(tmp_path):
    assert not is_locked(tmp_path / "a.lock")
    assert names(tmp_path) == []


def test_the_last_of_those_who_share_a_lock_can_have_it_alone(tmp_path):
    path = tmp_path / "a.lock"
    one, other = acquire(path, shared=True), acquire(path, shared=True)

    assert not become_exclusive(one)
    os.close(one)
    assert become_exclusive(other)
    assert try_acquire(path, shared=True) is None
    os.close(other)


def test_who_waited_for_a_lock_whose_file_was_removed_meanwhile_holds_the_new_one(tmp_path):
    path, got = tmp_path / "a.lock", []
    first = acquire(path)
    waiting = threading.Thread(target=lambda: got.append(acquire(path)))
    waiting.start()
    waiting.join(0.2)
    assert got == []

    path.unlink()
    os.close(first)
    waiting.join(10)

    assert os.path.samestat(os.fstat(got[0]), path.stat())
    os.close(got[0])


def test_a_lock_goes_with_a_process_that_is_killed(tmp_path):
    path = tmp_path / "a.lock"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    assert child.stdout.readline() == "held\n"
    assert is_locked(path)

    child.kill()
    child.wait()

    assert not is_locked(path)


def test_a_folder_can_be_locked(tmp_path):
    with locked(tmp_path):
        assert try_acquire(tmp_path) is None
