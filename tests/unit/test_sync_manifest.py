"""``sync.json``, read strictly and written whole."""

import copy
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from framewise.core.errors import FramewiseError, RequestError
from framewise.sync.manifest import Estimate, from_json, is_file_name, rating_of, read, unique_names, with_offset, write

# As docs/sync-apply.md has the format.
EXAMPLE: dict[str, Any] = {
    "format": "framewise-sync", "version": 1, "created": "2026-01-02T03:04:05Z", "request_id": "0a1b2c3d",
    "method": "both", "max_offset": 20.0, "minimum_confidence": 0.2, "reference": "cam1.mp4",
    "recordings": [
        {
            "name": "cam1.mp4", "path": "cam1.mp4", "size": 123456, "duration": 12.3, "frame_rate": "30000/1001", "frames": 369,
            "sample_rate": 48000, "answered": True, "offset": 0.0, "drift_ppm": 0.0, "confidence": 1.0, "rating": "excellent",
            "reason": "", "audio": None, "visual": None, "audio_video_diff": None,
        },
        {
            "name": "cam2.mp4", "path": "/elsewhere/cam2.mp4", "size": 1, "duration": 10, "frame_rate": None, "frames": None,
            "sample_rate": None, "answered": True, "offset": -1.234, "drift_ppm": None, "confidence": 0.6, "rating": "good",
            "reason": "short overlap", "audio": {"offset": -1.234, "confidence": 0.6, "drift_ppm": 12.5},
            "visual": {"offset": -1.231, "confidence": 0.3, "drift_ppm": None}, "audio_video_diff": 0.003,
        },
        {
            "name": "cam3.mp4", "path": "sub/cam3.mp4", "size": 1, "duration": 10, "frame_rate": "25", "frames": 250,
            "sample_rate": 44100, "answered": False, "offset": None, "drift_ppm": None, "confidence": 0.1, "rating": "poor",
            "reason": "silence", "audio": None, "visual": None, "audio_video_diff": None,
        },
    ],
    "pairs": [{"a": "cam1.mp4", "b": "cam2.mp4", "method": "audio", "offset": -1.234, "confidence": 0.6, "residual": 0.0}],
    "loop_residual": 0.0004,
}  # fmt: skip


def test_what_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    manifest = from_json(EXAMPLE, tmp_path)

    write(manifest, tmp_path / "sync.json")

    assert read(tmp_path / "sync.json") == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["sync.json"]
    first, second, third = manifest.recordings
    assert (first.frame_rate, first.path) == (Fraction(30000, 1001), tmp_path / "cam1.mp4")
    assert (second.path, second.audio) == (Path("/elsewhere/cam2.mp4"), Estimate(-1.234, 0.6, 12.5))
    assert third.path == tmp_path / "sub" / "cam3.mp4"
    assert [r["path"] for r in json.loads((tmp_path / "sync.json").read_text())["recordings"]] == [
        "cam1.mp4", "/elsewhere/cam2.mp4", "sub/cam3.mp4",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Straße 1.mp4", "Камера.mp4", "\udcff.mp4", "-i.mp4", "a:b%d.mp4"])
def test_names_of_files_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    found = copy.deepcopy(EXAMPLE)
    found["recordings"][2].update(name=name, path=name)
    manifest = from_json(found, tmp_path)

    write(manifest, tmp_path / "sync.json")

    assert read(tmp_path / "sync.json") == manifest


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("format",), "other", "expected format 'framewise-sync' of version 1, found 'other' of 1"),
        (("version",), 2, "found 'framewise-sync' of 2"),
        (("created",), "yesterday", "created: expected a time"),
        (("request_id",), "XYZ", "request_id: expected 8 hexadecimal digits, found 'XYZ'"),
        (("method",), "smell", "method: expected audio or visual or both, found 'smell'"),
        (("method",), [], "method: expected audio or visual or both"),
        (("max_offset",), -1, "max_offset: expected a number from 0"),
        (("reference",), "cam9.mp4", "reference: expected the name of a recording, found 'cam9.mp4'"),
        (("reference",), "cam2.mp4", "reference: expected offset 0 and no drift of 'cam2.mp4', found -1.234"),
        (("recordings",), {}, "recordings: expected a list"),
        (("recordings", 0), 5, "recordings[0]: expected an object, found 5"),
        (("recordings", 0, "name"), "../cam1.mp4", "recordings[0].name: expected the name of a file"),
        (("recordings", 0, "name"), "a\x1b[2J", "recordings[0].name: expected the name of a file"),
        (("recordings", 1, "name"), "CAM1.mp4", "recordings[1].name: expected a name that no other recording has"),
        (("recordings", 0, "path"), "../../etc/passwd", "recordings[0].path: expected an absolute path, or one below"),
        (("recordings", 0, "path"), "a\0b", "recordings[0].path: expected an absolute path"),
        (("recordings", 0, "size"), 1.5, "recordings[0].size: expected a whole number"),
        (("recordings", 0, "duration"), float("nan"), "recordings[0].duration: expected a number"),
        (("recordings", 0, "duration"), float("inf"), "recordings[0].duration: expected a number"),
        (("recordings", 0, "duration"), True, "recordings[0].duration: expected a number"),
        (("recordings", 0, "frame_rate"), 29.97, "recordings[0].frame_rate: expected pictures a second as text"),
        (("recordings", 0, "frame_rate"), "30/0", "recordings[0].frame_rate: expected pictures a second as text"),
        (("recordings", 0, "frame_rate"), "0", "recordings[0].frame_rate: expected pictures a second as text"),
        (("recordings", 1, "answered"), False, "recordings[1].offset: expected a number where answered is true"),
        (("recordings", 2, "answered"), True, "recordings[2].offset: expected a number where answered is true"),
        (("recordings", 1, "offset"), "1", "recordings[1].offset: expected a number"),
        (("recordings", 1, "offset"), 1e300, "recordings[1].offset: expected a number"),
        (("recordings", 1, "offset"), 10**400, "recordings[1].offset: expected a number"),
        (("recordings", 1, "drift_ppm"), -1e6, "recordings[1].drift_ppm: expected a number"),
        (("recordings", 1, "confidence"), 1.2, "recordings[1].confidence: expected a number from 0 to 1, found 1.2"),
        (("recordings", 1, "rating"), "great", "recordings[1].rating: expected excellent or good or fair or poor"),
        (("recordings", 1, "audio"), [], "recordings[1].audio: expected an object, found []"),
        (("recordings", 1, "audio", "offset"), {}, "recordings[1].audio.offset: expected a number"),
        (("pairs", 0, "a"), "cam9.mp4", "pairs[0].a: expected the name of a recording"),
    ],
)
def test_a_field_that_cannot_be_is_named(tmp_path: Path, place: tuple[Any, ...], value: Any, said: str) -> None:
    found = copy.deepcopy(EXAMPLE)
    parent = found
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = value
    (tmp_path / "sync.json").write_text(json.dumps(found))

    with pytest.raises(RequestError) as refused:
        read(tmp_path / "sync.json")

    assert said in str(refused.value)
    assert "framewise sync estimate" in str(refused.value)


@pytest.mark.parametrize("name", [name for name in EXAMPLE])
def test_a_field_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    found = {key: value for key, value in EXAMPLE.items() if key != name}

    with pytest.raises(RequestError, match=f"{name}: expected a value, found none"):
        from_json(found, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "null", '"framewise-sync"', "\udcff"])
def test_what_is_no_manifest_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "sync.json").write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(FramewiseError, match="sync.json"):
        read(tmp_path / "sync.json")


def test_fields_of_later_are_left_alone(tmp_path: Path) -> None:
    assert from_json({**EXAMPLE, "new": 1}, tmp_path) == from_json(EXAMPLE, tmp_path)


def test_a_manifest_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "sync.json").mkdir()

    with pytest.raises(FramewiseError, match="cannot write"):
        write(from_json(EXAMPLE, tmp_path), tmp_path / "sync.json")

    assert [path.name for path in tmp_path.iterdir()] == ["sync.json"]


def test_files_of_one_name_get_names_of_their_own() -> None:
    paths = [Path("a/x.mp4"), Path("b/x.mp4"), Path("x-2.mp4"), Path("c/X.mp4"), Path("x")]

    assert unique_names(paths) == ["x.mp4", "x-2.mp4", "x-2-2.mp4", "X-3.mp4", "x"]


def test_ratings_are_those_of_the_documented_scale() -> None:
    assert [rating_of(c) for c in (1.0, 0.8, 0.79, 0.5, 0.49, 0.2, 0.19, 0.0)] == [
        "excellent", "excellent", "good", "good", "fair", "fair", "poor", "poor",
    ]  # fmt: skip


def test_names_that_lead_elsewhere_are_none() -> None:
    assert all(is_file_name(name) for name in ("a.mp4", "-i.mp4", "a:b.mp4", "100%d.mp4", "Kamera 1 ü.mp4", "..a"))
    assert not any(is_file_name(name) for name in ("", ".", "..", "a/b", "a\\b", "a\nb", "x" * 201))


def test_an_offset_set_by_hand_answers(tmp_path: Path) -> None:
    manifest = with_offset(from_json(EXAMPLE, tmp_path), "cam3.mp4", 1.5)

    assert (manifest.recordings[2].answered, manifest.recordings[2].offset) == (True, 1.5)
    for name, offset in (("cam1.mp4", 1.0), ("cam2.mp4", float("nan")), ("cam9.mp4", 0.0)):
        with pytest.raises(RequestError):
            with_offset(manifest, name, offset)
