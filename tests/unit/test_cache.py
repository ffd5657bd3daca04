"""The cache is kept to a size by whole videos, those used longest ago first, and never by what somebody uses: with real
processes, which are killed."""

import hashlib
import inspect
import os
import shutil
import signal
import time
import weakref
from pathlib import Path

import joblib.memory
import numpy as np
import pytest

from framewise.core.sizes import format_size, parse_size
from framewise.core.storage import PARTIAL, is_locked, locked
from framewise.features import extraction, housekeeping
from framewise.features.cache import FeatureCache, features_chunk, picture_times
from framewise.features.extraction import Extractor, current_preprocessings
from framewise.features.housekeeping import Housekeeper
from tests import cache_help
from tests.cache_help import CHUNK, SIZE, WEIGHTS, get, is_right, key_of, put, start, used

PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", CHUNK)
    monkeypatch.setattr(housekeeping, "CHUNK_PICTURES", CHUNK)


def test_the_source_of_memoised_functions_is_what_it_was():
    """joblib knows their results by it: with any other, a comment's or a docstring's too, all that is cached is made again."""
    sources = [inspect.getsource(function) for function in (features_chunk, picture_times)]
    assert [hashlib.sha256(source.encode()).hexdigest()[:16] for source in sources] == ["61397836148cbaec", "a857edb0dc7f5669"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache's folder, as of a process that had no other: joblib notes the code of its functions in the first alone, and
    takes what is in the others for unknown at the first look of another process."""
    monkeypatch.setattr(joblib.memory, "_FUNCTION_HASHES", weakref.WeakKeyDictionary())
    return tmp_path / "cache"


@pytest.fixture
def running(tmp_path):
    """Starts processes, and ends them with the test."""
    started = []

    def run(function, *args):
        started.append(start(function, *args))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.join(PATIENCE_SECONDS)


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.001)


def size_of(cache):
    return Housekeeper(FeatureCache(cache)).stock().size


def shrink(cache, max_bytes):
    return Housekeeper(FeatureCache(cache)).shrink(max_bytes)


def there(cache, *contents):
    return "".join(content for content in contents if get(cache, content))


def arrays(cache):
    return list(cache.rglob("*.npy"))


# What goes.


def test_what_was_used_longest_ago_goes_first_whatever_was_read_or_written_last(cache):
    for content, hours_ago in (("a", 1), ("b", 3), ("c", 2)):
        put(cache, content)
        used(cache, content, hours_ago)
    for path in arrays(cache):
        np.load(path)
    done = shrink(cache, size_of(cache) - 1)
    assert (done.videos, there(cache, "a", "b", "c")) == (1, "ac")


def test_asking_for_a_video_is_its_use(cache):
    for content in "ab":
        put(cache, content)
        used(cache, content, 5 if content == "a" else 4)
    assert get(cache, "a")
    shrink(cache, size_of(cache) - 1)
    assert there(cache, "a", "b") == "a"


def test_a_use_is_noted_once_a_minute_and_no_more(cache):
    put(cache, "a")
    file = FeatureCache(cache).use_file(key_of("a"))
    used(cache, "a", 0.5 / 60)
    before = file.stat().st_mtime_ns
    assert get(cache, "a")
    assert file.stat().st_mtime_ns == before
    used(cache, "a", 2 / 60)
    before = file.stat().st_mtime_ns
    assert get(cache, "a")
    assert file.stat().st_mtime_ns > before


def test_a_video_goes_as_a_whole_with_the_times_of_its_pictures(cache):
    put(cache, "long", pictures=5 * CHUNK)
    put(cache, "short")
    used(cache, "long", 1)
    before = len(arrays(cache))
    done = shrink(cache, size_of(cache) - 1)
    assert (done.videos, len(arrays(cache))) == (1, before - 6)
    assert done.freed > 5 * CHUNK * SIZE
    assert done.left == size_of(cache)
    assert get(cache, "long") is None
    assert is_right(get(cache, "short"), "short")


def test_times_stay_as_long_as_features_by_another_backbone_need_them(cache):
    for weights in ("1" * 64, "2" * 64):
        put(cache, "a", weights=weights)
    used(cache, "a", 1, "1" * 64)
    shrink(cache, size_of(cache) - 1)
    assert get(cache, "a", "1" * 64) is None
    assert is_right(get(cache, "a", "2" * 64), "a")
    shrink(cache, 0)
    assert arrays(cache) == []


def test_a_cache_that_is_small_enough_is_left_alone(cache):
    put(cache, "a")
    assert shrink(cache, size_of(cache)).videos == 0
    assert there(cache, "a") == "a"


def test_what_was_evicted_is_noticed_and_extracted_anew_by_who_had_found_it(cache):
    put(cache, "a")
    extractor = Extractor(FeatureCache(cache))  # as of another process, which remembers what it found
    assert is_right(extractor.cached("a", WEIGHTS, "center"), "a")
    shrink(cache, 0)
    assert extractor.cached("a", WEIGHTS, "center") is None
    put(cache, "a", pictures=2 * CHUNK)
    features = extractor.cached("a", WEIGHTS, "center")
    assert len(features.timeline.pts) == 2 * CHUNK
    assert is_right(features, "a")


def test_features_that_are_removed_by_hand_are_noticed(cache):
    put(cache, "a")
    extractor = Extractor(FeatureCache(cache))
    assert extractor.cached("a", WEIGHTS, "center")
    shutil.rmtree(cache)
    assert extractor.cached("a", WEIGHTS, "center") is None


def test_an_array_of_which_nobody_says_whose_it_is_is_none(cache):
    """Its writer was killed between the two."""
    put(cache, "a")
    (about,) = cache.rglob("features_chunk/*/metadata.json")
    about.unlink()
    assert get(cache, "a") is None
    put(cache, "a")
    assert is_right(get(cache, "a"), "a")


def test_what_is_written_at_the_moment_is_no_leftover_although_the_clock_is_set_forward(cache, monkeypatch):
    being_written = []

    def note(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        being_written.append((path.name.startswith(PARTIAL), is_locked(path)))

    monkeypatch.setattr("framewise.core.storage.os.fsync", note)
    put(cache, "a")
    assert set(being_written) == {(True, True)}
    (about,) = cache.rglob("features_chunk/*/metadata.json")
    part = about.with_name(f"{PARTIAL}of-another")
    with locked(part):
        age(part)
        assert kinds(cache) == []
        about.unlink()
        put(cache, "a")  # writes in the same folder
        assert part.exists()
    assert kinds(cache) == [housekeeping.PARTS]
    about.unlink()
    put(cache, "a")
    assert not part.exists()


# What stays.


def test_what_is_open_stays_until_it_is_let_go_of(cache):
    for content in "ab":
        put(cache, content)
    features = get(cache, "a")
    done = shrink(cache, 0)
    assert (done.videos, there(cache, "a", "b")) == (1, "a")
    del features
    shrink(cache, 0)
    assert there(cache, "a", "b") == ""


def test_what_another_process_reads_stays_until_it_is_killed(cache, tmp_path, running):
    put(cache, "a")
    process = running(cache_help.hold_open, cache, "a", tmp_path / "ready")
    wait_until((tmp_path / "ready").exists, "another process reads")
    housekeeper = Housekeeper(FeatureCache(cache))
    assert housekeeper.is_in_use(key_of("a"))
    assert housekeeper.shrink(0).videos == 0
    process.kill()
    process.join(PATIENCE_SECONDS)
    assert not housekeeper.is_in_use(key_of("a"))
    assert housekeeper.shrink(0).videos == 1


def test_a_cache_that_may_not_be_written_is_read_all_the_same(cache, monkeypatch):
    put(cache, "a")
    shutil.rmtree(cache / "use")
    make = os.open

    def refuse(path, flags, *args, **more):
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device", str(path))
        return make(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    assert is_right(get(cache, "a"), "a")


# Several at once.


def test_two_that_make_room_at_once_remove_no_more_than_one(cache, tmp_path, running):
    contents = [f"video {number:02}" for number in range(30)]
    for number, content in enumerate(contents):
        put(cache, content)
        used(cache, content, 100 - number)
    room = size_of(cache) * 2 // 3 + 1000  # and less than half of a video
    processes = []
    for number in range(2):
        processes.append(running(cache_help.shrink, cache, room, tmp_path / f"ready-{number}", tmp_path / "go"))
        wait_until((tmp_path / f"ready-{number}").exists, "it is ready")
    (tmp_path / "go").touch()
    for process in processes:
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == 0
    assert [content for content in contents if get(cache, content)] == contents[10:]


def test_who_asks_while_room_is_made_has_all_of_a_video_or_nothing(cache, tmp_path, running):
    contents = ["a", "b", "c"]
    readers = [running(cache_help.read_and_write, cache, contents, 3 * CHUNK, 12) for _ in range(2)]
    evictors = [running(cache_help.shrink_again_and_again, cache, 1000, tmp_path / "stop") for _ in range(2)]
    for process in readers:
        process.join(300)
        assert process.exitcode == 0
    (tmp_path / "stop").touch()
    for process in evictors:
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == 0


def test_an_eviction_that_is_killed_leaves_a_video_that_is_not_cached_and_can_be_extracted(cache, tmp_path, running):
    cut_short = 0
    chunks = FeatureCache(cache).chunk_items()
    for number in range(20):
        put(cache, "a", pictures=200 * CHUNK)
        go = tmp_path / f"go-{number}"
        process = running(cache_help.shrink, cache, 0, tmp_path / f"ready-{number}", go)
        wait_until((tmp_path / f"ready-{number}").exists, "it is ready")
        go.touch()
        wait_until(lambda: len(os.listdir(chunks)) < 201, "chunks are being removed")
        os.kill(process.pid, signal.SIGKILL)
        process.join(PATIENCE_SECONDS)
        left = len(os.listdir(chunks))
        cut_short += 1 < left < 201  # with the one that joblib has for the function's code
        assert get(cache, "a") is None
        if cut_short:
            break
    assert cut_short, "it was always too late to kill it"
    put(cache, "a", pictures=200 * CHUNK)
    assert is_right(get(cache, "a"), "a")
    shrink(cache, 0)
    assert arrays(cache) == []


# Leftovers.


def leftovers(cache, backbones=(WEIGHTS,), preprocessings=None):
    preprocessings = current_preprocessings() if preprocessings is None else preprocessings
    return Housekeeper(FeatureCache(cache)).leftovers(backbones, preprocessings)


def kinds(cache, *args):
    return [leftover.kind for leftover in leftovers(cache, *args)]


def clean(cache, *args):
    found = leftovers(cache, *args)
    return Housekeeper(FeatureCache(cache)).remove(found)


def age(path, hours=2.0):
    moment = time.time() - 3600 * hours
    os.utime(path, (moment, moment))


def test_what_is_asked_for_is_no_leftover(cache):
    put(cache, "a", pictures=3 * CHUNK)
    used(cache, "a", 1000)
    assert kinds(cache) == []
    assert clean(cache) == 0
    assert is_right(get(cache, "a"), "a")


def test_features_of_backbones_that_are_gone_and_of_earlier_preprocessings_are_leftovers(cache):
    put(cache, "a")
    put(cache, "b", weights="v" * 64)
    assert kinds(cache) == [housekeeping.OTHER_WEIGHTS]
    assert set(kinds(cache, (WEIGHTS, "v" * 64), {"another"})) == {housekeeping.OTHER_PREPROCESSING}
    assert clean(cache) > CHUNK * SIZE * 4
    assert get(cache, "b", "v" * 64) is None
    assert is_right(get(cache, "a"), "a")
    assert kinds(cache) == []


def test_what_is_in_use_is_no_leftover_and_not_removed_as_one(cache):
    put(cache, "a", weights="v" * 64)
    found = leftovers(cache)
    features = get(cache, "a", "v" * 64)
    assert kinds(cache) == []
    assert Housekeeper(FeatureCache(cache)).remove(found) == 0
    assert is_right(features, "a")


def test_a_video_that_was_not_extracted_to_its_end_is_a_leftover_after_a_while(cache):
    put(cache, "a", pictures=3 * CHUNK)
    cached = FeatureCache(cache)
    shutil.rmtree(next(cached.times_items().glob("*/")))
    assert kinds(cache) == []
    used(cache, "a", 2)
    assert kinds(cache) == [housekeeping.CUT_OFF]
    assert clean(cache) > 0
    assert arrays(cache) == []


def test_times_without_features_are_leftovers(cache):
    put(cache, "a")
    cached = FeatureCache(cache)
    shutil.rmtree(next(cached.chunk_items().glob("*/")))
    assert kinds(cache) == []
    age(next(cached.times_items().glob("*/output.npy")))
    assert kinds(cache) == [housekeeping.LONE_TIMES]
    clean(cache)
    assert arrays(cache) == []
    assert list((cache / "use").iterdir()) == [], "files of uses of nothing go as well"


def test_parts_of_files_and_caches_of_other_programs_are_leftovers(cache):
    put(cache, "a")
    item = next(FeatureCache(cache).chunk_items().glob("*/"))
    (item / ".part-new").write_bytes(b"1")
    (item / ".part-old").write_bytes(b"12")
    age(item / ".part-old")
    other = cache / "joblib" / "utils" / "neural_nets" / "cached_feature_extraction" / ("0" * 32)
    other.mkdir(parents=True)
    (other / "output.pkl").write_bytes(b"123")
    found = {leftover.kind: (leftover.size, leftover.what) for leftover in leftovers(cache)}
    assert found == {
        housekeeping.PARTS: (2, item / ".part-old"),
        housekeeping.OTHER_FORMATS: (3, cache / "joblib" / "utils"),
    }
    assert clean(cache) == 5
    assert not (cache / "joblib" / "utils").exists()
    assert (item / ".part-new").exists()
    assert is_right(get(cache, "a"), "a")


# Sizes.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234", 1234),
        ("500MB", 500 * 10**6),
        ("10GB", 10**10),
        ("2 tb", 2 * 10**12),
        ("2k", 2000),
        ("1GiB", 2**30),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "10 XB", "1e9", "1iB", "10GB a day"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="expected a number of bytes, or a size such as 500MB or 10GB"):
        parse_size(text)


def test_sizes_are_shown_with_three_digits():
    assert [format_size(n) for n in (0, 999, 1000, 1234567, 999_600_000, 5 * 10**13)] == [
        "0 B", "999 B", "1 kB", "1.23 MB", "1 GB", "50 TB",
    ]  # fmt: skip


def test_the_folder_of_the_cache_is_all_that_is_written(tmp_path, cache):
    put(cache, "a")
    shrink(cache, 0)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["cache"]
