"""``framewise sync evaluate``: pairs whose offsets are what they are said to be, and metrics of known answers."""

import json
import os
from pathlib import Path

import pytest

from framewise.core.errors import FramewiseError, RequestError
from framewise.sync.evaluate.evaluating import evaluate_offsets
from framewise.sync.evaluate.outcomes import METHODS, EstimateOutcome, metrics_of
from framewise.sync.evaluate.variants import TREATMENTS, make_cases
from framewise.sync.manifest import Manifest
from tests.sync_help import Filmed, by_clock, framewise_sync, manifest_of, started

OFFSETS = (-1.2345, -0.0117, 0.0083, 0.4567, 2.0)  # one for each treatment
PLOTS = ("before_after", "confidence_against_error", "distribution", "error_against_offset", "resources")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    Filmed(50, 9).write(folder / "scene.mp4")
    (folder / "notes.txt").write_text("no recording")
    return folder


def test_pairs_start_as_far_apart_as_they_are_said_to_whatever_is_done_to_them(originals: Path, tmp_path: Path) -> None:
    cases, notes = make_cases(originals / "scene.mp4", [*OFFSETS, 7.0], 60, tmp_path)

    assert [case.offset for case in cases] == list(OFFSETS)
    assert {case.treatment for case in cases} == {treatment.name for treatment in TREATMENTS}
    assert notes == ["scene.mp4: too short for an offset of +7 s, 9.0 s"]
    for case in cases:
        by_picture, by_sound = (
            started(case.paths[1], method) - started(case.paths[0], method) for method in ("visual", "audio")
        )
        assert by_picture == pytest.approx(case.offset, abs=0.0011), case  # the clock is in milliseconds
        if case.treatment != "echo, 22 kHz, clipped":  # its ticks are not ours any more
            assert by_sound == pytest.approx(case.offset, abs=0.0005), case


def off_by_some(paths: list[Path], method: str, max_offset: float) -> Manifest:
    """Right by picture, 20 ms late by sound, and nothing to say of offsets above 1 s."""
    (_, found) = by_clock(paths, "visual", max_offset).recordings
    assert found.offset is not None
    if abs(found.offset) > 1 and method == "audio":
        raise RequestError("outside of the range")
    return manifest_of(paths, [0.0, None if abs(found.offset) > 2.5 else found.offset + 0.02 * (method == "audio")])


def test_metrics_are_those_of_the_answers(originals: Path, tmp_path: Path) -> None:
    told: list[float] = []

    metrics = evaluate_offsets(
        originals, off_by_some, tmp_path / "out", (-1.5, 0.25), 4.0, 20.0, lambda share, what: told.append(share)
    )

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(["metrics.json", *(f"{p}.png" for p in PLOTS)])
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    audio, visual = (metrics["methods"][method] for method in METHODS)
    assert (audio["asked"], audio["answered"], visual["answered"]) == (2, 1, 2)
    assert [audio[key] for key in ("mae", "rmse", "median", "max")] == pytest.approx([0.02] * 4, abs=0.0015)
    assert visual["max"] <= 0.0011
    assert audio["per_offset"]["-1.5"] == {"asked": 1, "answered": 0, "mae": None, "rmse": None, "median": None, "max": None}
    assert metrics["audio_video_diff"]["pairs"] == 1
    assert metrics["audio_video_diff"]["share_under_0.1_s"] == 1.0
    assert visual["run_time"]["mean"] > 0
    assert visual["peak_memory_mb"] > 20
    assert [r["reason"] for r in metrics["results"] if r["method"] == "audio"] == ["outside of the range", ""]
    assert told == sorted(told)


def test_errors_are_summed_up_as_worked_by_hand() -> None:
    errors = {"audio": [0.001, -0.003, None], "visual": [0.2, 0.0, 0.01]}
    outcomes = [
        EstimateOutcome("o", 1.0, "t", method, None if e is None else 1.0 + e, e, 0.5, "", 2.0, 100.0, 90.0)
        for method, of_method in errors.items()
        for e in of_method
    ]

    metrics = metrics_of(outcomes)

    audio = metrics["methods"]["audio"]
    assert [audio[k] for k in ("mae", "rmse", "median", "max")] == pytest.approx([0.002, (5e-6) ** 0.5, 0.002, 0.003])
    between = metrics["audio_video_diff"]  # |1.001 - 1.2| and |0.997 - 1|
    assert [between[k] for k in ("pairs", "mean", "max", "share_under_0.1_s")] == pytest.approx([2, 0.101, 0.199, 0.5])


def ends(paths: list[Path], method: str, max_offset: float) -> Manifest:
    os._exit(3)


def test_an_estimator_that_dies_is_told(originals: Path, tmp_path: Path) -> None:
    with pytest.raises(FramewiseError, match="scene.mp4: the estimator ended without an answer"):
        evaluate_offsets(originals, ends, tmp_path / "out", (0.25,))


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()

    done = framewise_sync(tmp_path, "evaluate", tmp_path)

    assert done.returncode == 2
    assert "expected recordings" in done.stderr
