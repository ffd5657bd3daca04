"""``framewise sync apply`` on real files: their pictures show the scene's clock, and their sound ticks with it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from framewise.core.errors import FramewiseError, MediaError, RequestError, SettingsError, StorageFull
from framewise.media.video import decode
from framewise.sync.apply.applying import COPIED, ENCODED, Applied, ApplyOptions, apply_offsets, drift_rates, picture_hashes
from framewise.sync.manifest import read
from framewise.sync.sources import probe
from tests.process_tree import descendants, is_alive
from tests.sync_help import Filmed, clocks, framewise_sync, manifest_of, sound_of, tick_seconds, write_manifest
from tests.videos import SHOWN_BY_MATRIX, corners_of, corners_picture, with_matrix, write_video

FOUR = {"a": 100.0, "b": 98.766, "c": 100.567, "w": 99.51}  # when they start in the scene, seconds
OFFSETS = (0.0, -1.234, 0.567, -0.49)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of one scene: the reference, one at another rate in Matroska, a silent one, and one of sound alone."""
    folder = tmp_path_factory.mktemp("four")
    return [
        Filmed(FOUR["a"], 4).write(folder / "a.mp4"),
        Filmed(FOUR["b"], 5, Fraction(30000, 1001)).write(folder / "b.mkv", audio="flac"),
        Filmed(FOUR["c"], 4, sample_rate=None).write(folder / "c.mov"),
        Filmed(FOUR["w"], 6, None, 44100).write(folder / "w.wav", audio="pcm_s16le"),
    ]


def by_name(applied: Applied) -> dict[str, Path]:
    return {output.recording: output.path for output in applied.outputs if output.path}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Of each mode: when the result starts in the scene, its frames, and the frames of which a, b, c have pictures.
CASES = {
    # b first; w ends last: -0.49 + 6 s after a's start, which is 6.744 s = 168.6 frames.
    "union": (98.766, 169, ((31, 131), (0, 125), (45, 145))),
    # From c's start to b's end, -1.234 + 5.005 - 0.567 s = 80.1 frames.
    "intersection": (100.567, 80, ((0, 80), (0, 80), (0, 80))),
    "reference": (100.0, 100, ((0, 100), (0, 94), (14, 100))),
}


@pytest.mark.parametrize("mode", CASES)
def test_every_output_has_the_same_frames_and_shows_the_scene_at_the_same_instants(
    four: list[Path], tmp_path: Path, mode: str
) -> None:
    before = [digest(path) for path in four]
    told: list[float] = []

    applied = apply_offsets(
        manifest_of(four, OFFSETS), ApplyOptions(tmp_path / "out", mode), lambda share, what: told.append(share)
    )

    scene, frames, shown = CASES[mode]
    outputs = by_name(applied)
    assert [path.name for path in outputs.values()] == ["a_synced.mp4", "b_synced.mkv", "c_synced.mov", "w_synced.wav"]
    assert applied.frames == frames
    for name, (first, stop) in zip(("a.mp4", "b.mkv", "c.mov"), shown, strict=True):
        seen = clocks(outputs[name])
        assert len(seen) == probe(outputs[name]).pictures.frames == frames  # type: ignore[union-attr]
        lit = [frame for frame, clock in enumerate(seen) if clock is not None]
        assert lit == list(range(first, stop)), name
        head = next(output.head for output in applied.outputs if output.recording == name)
        late = [seen[k] - scene - k / 25 - head.residual_seconds for k in lit]  # type: ignore[operator]
        # To the millisecond of the clock, and b's own frames are at other times than the result's.
        assert np.abs(late).max() <= (0.021 if name == "b.mkv" else 0.0015), name
    for name in ("a.mp4", "b.mkv", "w.wav"):
        residual = next(output.head.residual_seconds for output in applied.outputs if output.recording == name)
        ticks = tick_seconds(outputs[name]) + scene + residual
        assert len(ticks) >= 4
        assert np.abs(ticks[1:-1] - np.round(ticks[1:-1] * 2) / 2).max() < 2e-5, name  # less than a sample
        samples, rate = sound_of(outputs[name])
        assert abs(len(samples) - frames / 25 * rate) <= 1024  # a packet of AAC
    assert [digest(path) for path in four] == before
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_manifest_of_the_outputs_says_what_whole_frames_left_over(four: list[Path], tmp_path: Path) -> None:
    applied = apply_offsets(manifest_of(four, OFFSETS), ApplyOptions(tmp_path / "out", archive=True))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    names = [path.name for path in by_name(applied).values()]
    beside = ["applied.json", "sync.json", "synced.json", "synced_videos.zip"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names + beside)
    synced = read(tmp_path / "out" / "synced.json")
    assert synced.reference == "a_synced.mp4"
    # 1.234 s is 30.85 frames, 1.801 s is 45.025: a is 6 ms early, c 1 ms late, b and w where they should be.
    assert [r.offset for r in synced.recordings] == pytest.approx([0, 0.006, 0.007, 0.006])
    assert [r.offset for r in read(tmp_path / "out" / "sync.json").recordings] == list(OFFSETS)
    report = json.loads((tmp_path / "out" / "applied.json").read_text())
    assert [o["head_frames"] for o in report["outputs"]] == [31, 0, 45, 19]
    assert [o["head_samples"] for o in report["outputs"]] == [59520, 0, None, 32810]  # 0.744 s of 44100
    assert "crf 18" in report["outputs"][0]["settings"]
    with zipfile.ZipFile(tmp_path / "out" / "synced_videos.zip") as archive:
        assert archive.namelist() == names
        assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_STORED}
        assert all(archive.read(name) == (tmp_path / "out" / name).read_bytes() for name in names)


def test_a_file_that_is_right_as_it_is_is_copied_and_its_pictures_are_the_same(four: list[Path], tmp_path: Path) -> None:
    applied = apply_offsets(manifest_of(four[:2], OFFSETS[:2]), ApplyOptions(tmp_path / "out", "reference"))

    assert [output.how for output in applied.outputs] == [COPIED, ENCODED]
    hashes = list(picture_hashes(applied.outputs[0].path or four[0]))
    assert hashes == list(picture_hashes(four[0]))
    assert len(set(hashes)) == 100


def test_manifest_only_writes_no_media(four: list[Path], tmp_path: Path) -> None:
    applied = apply_offsets(manifest_of(four, OFFSETS), ApplyOptions(tmp_path / "out", manifest_only=True, archive=True))

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["applied.json", "sync.json"]
    assert [output.head.frames for output in applied.outputs] == [31, 0, 45, 19]


def test_a_variable_frame_rate_becomes_even(tmp_path: Path) -> None:
    """Pictures at 0, 40, 80 ms and on, of which every third is missing and the others are some milliseconds off."""
    times = [k / 25 + (0.005 if k % 2 else 0.0) for k in range(100) if k % 3 != 1]
    first = Filmed(10, 4).write(tmp_path / "a.mp4")
    uneven = Filmed(10.2, 4).write(tmp_path / "v.mp4", times=times)
    assert not probe(uneven).pictures.constant  # type: ignore[union-attr]

    applied = apply_offsets(manifest_of([first, uneven], [0, 0.2]), ApplyOptions(tmp_path / "out"))

    seen = clocks(by_name(applied)["v.mp4"])
    assert len(seen) == applied.frames
    late = [clock - 10 - k / 25 for k, clock in enumerate(seen) if clock is not None]
    assert (min(late), max(late)) == (pytest.approx(-0.04, abs=0.006), pytest.approx(0.005, abs=0.0025))
    ticks = tick_seconds(by_name(applied)["v.mp4"])
    assert ticks == pytest.approx(np.round(ticks * 2) / 2, abs=2e-5)


@pytest.mark.parametrize("corrected", [True, False])
def test_drift_is_corrected_when_asked_in_pictures_and_sound(tmp_path: Path, corrected: bool) -> None:
    """A clock that is 2000 ppm slow, more than any: 24 ms in 12 s."""
    ppm = 2000.0
    first = Filmed(10, 12).write(tmp_path / "a.mp4")
    slow = Filmed(11, 12, rate=1 + ppm * 1e-6).write(tmp_path / "s.mp4")

    applied = apply_offsets(
        manifest_of([first, slow], [0, 1], [0, ppm]), ApplyOptions(tmp_path / "out", correct_drift=corrected)
    )

    output = applied.outputs[1]
    assert output.drift_ppm == pytest.approx(ppm if corrected else 0, abs=1e-3)
    seen = clocks(by_name(applied)["s.mp4"])
    ticks = tick_seconds(by_name(applied)["s.mp4"])
    off = ticks - np.round(ticks * 2) / 2
    late = (seen[320] or 0) - 10 - 320 / 25
    if corrected:
        assert np.abs(off[1:]).max() < 2e-5
        assert abs(late) <= 0.0205  # half a frame
    else:
        assert off[-2] == pytest.approx(-0.0225, abs=0.001)
        assert late == pytest.approx(0.0236, abs=0.0015)
    synced = read(tmp_path / "out" / "synced.json").recordings[1]
    assert synced.drift_ppm == (0 if corrected else ppm)
    assert synced.offset == pytest.approx(0 if corrected else -ppm * 1e-6, abs=1e-9)  # 1 s of its own clock is before it


def test_rates_for_drift_are_exact() -> None:
    for ppm in (20.3, -37.3, 100, 300, -5000):
        up, slowed = drift_rates(1 + ppm * 1e-6)
        assert up / slowed == pytest.approx(1 + ppm * 1e-6, abs=1e-9)
    for ppm in (0.1, -1.3, 1.4, 2.7, -4.9):
        up, slowed = drift_rates(1 + ppm * 1e-6)
        assert up / slowed == pytest.approx(1 + ppm * 1e-6, abs=1.4e-6)


def test_sound_alone_is_moved_by_samples(tmp_path: Path) -> None:
    paths = [
        Filmed(10, 3, None).write(tmp_path / "a.wav", audio="pcm_s16le"),
        Filmed(10.2503, 3, None, 44100).write(tmp_path / "b.mp3", audio="libmp3lame"),
    ]

    applied = apply_offsets(manifest_of(paths, [0, 0.2503]), ApplyOptions(tmp_path / "out"))

    outputs = list(by_name(applied).values())
    assert [path.name for path in outputs] == ["a_synced.wav", "b_synced.flac"]
    assert [output.samples for output in applied.outputs] == [0, 11038]  # 0.2503 s of 44100
    for path, output in zip(paths, outputs, strict=True):
        moved = tick_seconds(output)[1:-1] - tick_seconds(path)[1:-1]
        assert len(moved) >= 4
        assert moved == pytest.approx(np.full(len(moved), 0.2503 if path.suffix == ".mp3" else 0.0), abs=2e-5)
        samples, rate = sound_of(output)
        assert len(samples) / rate == pytest.approx(applied.frames / 48000, abs=1e-4)


def test_whoever_is_told_of_the_progress_may_end_it(four: list[Path], tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(share: float, what: str) -> None:
        if what == "c.mov":
            raise Enough

    with pytest.raises(Enough):
        apply_offsets(manifest_of(four, OFFSETS), ApplyOptions(tmp_path / "out"), stop)

    assert list(tmp_path.iterdir()) == []


NAMES = ("-i.mp4", "a:b%d.mp4", "x'; touch owned; '.mp4", "concat:a|b.mp4", "ä ü [1].mp4", "file:x.mp4", "$(touch owned).mp4")


def test_names_of_files_are_names_and_nothing_else(tmp_path: Path) -> None:
    content = Filmed(5, 0.4).write(tmp_path / "plain.mp4").read_bytes()
    paths = [tmp_path / name for name in NAMES]
    for path in paths:
        path.write_bytes(content)
    write_manifest(tmp_path, paths, [0.0, *[0.04] * (len(NAMES) - 1)])

    done = framewise_sync(tmp_path, "apply", "sync.json", "--zip")

    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "synced").iterdir()}
    assert {name.replace(".mp4", "_synced.mp4") for name in NAMES} <= written
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*NAMES, "plain.mp4", "sync.json", "synced"])
    assert "union, 11 frames at 25 per second" in done.stdout


def damaged(path: Path) -> Path:
    """The header stays, every byte of pictures and sound is another."""
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    length = int.from_bytes(content[start - 8 : start - 4], "big") - 8
    content[start : start + length] = bytes(x ^ 0x5A for x in content[start : start + length])
    path.write_bytes(content)
    return path


def test_a_failed_ffmpeg_is_a_failed_command_with_its_last_lines_and_leaves_nothing(tmp_path: Path) -> None:
    paths = [Filmed(0, 1).write(tmp_path / "a.mp4"), damaged(Filmed(0.1, 1).write(tmp_path / "b.mp4"))]
    write_manifest(tmp_path, paths, [0, 0.1])

    done = framewise_sync(tmp_path, "apply", "sync.json", "--output", "out")

    assert done.returncode == 2, done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("framewise:")]
    assert "b.mp4: FFmpeg" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "sync.json"]


def test_a_full_disk_in_the_middle_fails_and_leaves_nothing(tmp_path: Path, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (288, 352, 3), dtype=np.uint8) for _ in range(20)]
    paths = [write_video(tmp_path / name, noise) for name in ("a.mp4", "b.mp4")]

    with pytest.raises(StorageFull, match=r"no room on the disk.*--output"):
        apply_offsets(manifest_of(paths, [0, 0.2]), ApplyOptions(disk / "out"))

    assert list(disk.iterdir()) == []


def test_a_killed_apply_leaves_no_ffmpeg_and_no_folder_with_its_name(tmp_path: Path) -> None:
    paths = [Filmed(0, 10, size=(640, 480)).write(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    write_manifest(tmp_path, paths, [0, 0.5])
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "framewise", "sync", "apply", "sync.json", "--output", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
    deadline, children = time.monotonic() + 300, list[int]()
    while time.monotonic() < deadline and not (children := descendants(process.pid)):
        time.sleep(0.01)
    assert children, "no FFmpeg was started"

    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    while time.monotonic() < deadline and any(is_alive(pid) for pid in children):
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in children)
    assert not (tmp_path / "out").exists()


def test_bad_input_is_refused_in_a_sentence(four: list[Path], tmp_path: Path) -> None:
    whole = manifest_of(four[:2], OFFSETS[:2])

    def refused(kind: type[FramewiseError], said: str, manifest: object = whole, **changed: object) -> None:
        options = ApplyOptions(**{"output": tmp_path / "out", **changed})  # type: ignore[arg-type]
        with pytest.raises(kind, match=said):
            apply_offsets(manifest, options)  # type: ignore[arg-type]

    refused(RequestError, "at least two recordings .* found 1 .*b.mkv: silence", manifest_of(four[:2], [0, None]))
    refused(RequestError, r"ends 4.995 s before another starts", manifest_of(four[:2], [0, -10]), mode="intersection")
    refused(
        RequestError, "b.mkv: nothing of it is in the time of the reference", manifest_of(four[:2], [0, 9]), mode="reference"
    )
    refused(RequestError, "at most 172800 s and 1000000 frames", manifest_of(four[:2], [0, 1e6]))
    refused(SettingsError, "is not empty", output=four[0].parent)
    refused(SettingsError, "expected union", mode="all")
    assert not (tmp_path / "out").exists()

    changed = tmp_path / "a.mp4"
    changed.write_bytes(four[0].read_bytes())
    manifest = manifest_of([changed, four[1]], OFFSETS[:2])
    changed.write_bytes(four[0].read_bytes()[:2000])
    refused(RequestError, r"a.mp4: the manifest describes a file of \d+ bytes, found 2000", manifest)
    refused(MediaError, "a.mp4: not a readable recording", manifest_of([changed, four[1]], OFFSETS[:2]))
    changed.unlink()
    refused(RequestError, "was it moved", manifest)


def test_a_recording_whose_offset_is_not_known_is_left_out_and_named(four: list[Path], tmp_path: Path) -> None:
    path = write_manifest(tmp_path, four[:3], [0, None, 0.567])

    done = framewise_sync(tmp_path, "apply", path, "--manifest-only", "--output", "out")

    assert done.returncode == 1, done.stderr
    assert "b.mkv was left out: silence" in done.stdout


@pytest.mark.parametrize("number", range(len(SHOWN_BY_MATRIX)))
def test_outputs_are_turned_and_mirrored_as_browsers_show_the_recordings(tmp_path: Path, number: int) -> None:
    matrix = list(SHOWN_BY_MATRIX)[number]
    plain = write_video(tmp_path / "plain.mp4", [corners_picture()] * 50)
    turned = with_matrix(plain, tmp_path / "turned.mp4", matrix)
    applied = apply_offsets(manifest_of([plain, turned], (0.0, 0.52)), ApplyOptions(tmp_path / "out", "union"))
    assert [output.how for output in applied.outputs] == [ENCODED, ENCODED]
    for name, corners in (("plain.mp4", "RGBW"), ("turned.mp4", SHOWN_BY_MATRIX[matrix])):
        assert corners_of(list(decode(by_name(applied)[name]))[30].rgb) == corners


@pytest.mark.parametrize(("matrix", "corners"), [((1, 0, 0, 1), "RGBW"), ((-1, 0, 0, 1), "GRWB")])
def test_what_pictures_say_themselves_of_how_to_turn_them_is_left_alone_as_by_browsers(
    tmp_path: Path, matrix: tuple[int, ...], corners: str
) -> None:
    plain = write_video(tmp_path / "plain.mp4", [corners_picture()] * 50)
    shown, saying = with_matrix(plain, tmp_path / "shown.mp4", matrix), tmp_path / "saying.mp4"
    insert = ["-c", "copy", "-bsf:v", "h264_metadata=display_orientation=insert:rotate=90"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", shown, *insert, saying], check=True)
    applied = apply_offsets(manifest_of([plain, saying], (0.0, 0.52)), ApplyOptions(tmp_path / "out", "union"))
    assert corners_of(list(decode(by_name(applied)["saying.mp4"]))[30].rgb) == corners
