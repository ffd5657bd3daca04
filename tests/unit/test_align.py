"""``framewise series align`` on a rendered film that shakes with a sensor, and on what has nothing in common."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from framewise.commands.cli import main
from framewise.commands.series_align import MINIMUM_CONFIDENCE
from framewise.sync.offsets.confidence import visual_confidence
from framewise.sync.offsets.movement import small_pictures
from framewise.sync.offsets.signals import Signal
from framewise.sync.series.aligning import CAMERA, SCENE, SOUND, compare, measure, read_sensor
from framewise.sync.series.channels import correlate_channels
from framewise.sync.series.turning import TurningMeter
from tests.align_help import EARLY, FRAMES, RATE, Shaken, restless, shake, write_series
from tests.videos import write_sound as write_silence
from tests.videos import write_video
from tools.sync_material import write_sound


@pytest.fixture(scope="module")
def shaken(tmp_path_factory) -> Shaken:
    return shake(tmp_path_factory.mktemp("align"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def measure_turning(path):
    meter = TurningMeter()
    for picture in small_pictures(path):
        meter.add(*picture)
    return meter.turning()


def run(*args: object) -> int:
    return main(["series", "align", *map(str, args)])


def test_the_film_moves_as_it_was_moved(shaken):
    turning = measure_turning(shaken.film)
    at = np.arange(len(shaken.turned)) / RATE - EARLY

    for signal, true in zip((turning.sideways, turning.upwards), shaken.turned.T, strict=True):
        expected = np.interp(signal.seconds, at, true)
        assert np.corrcoef(signal.values, expected)[0, 1] > 0.95
        assert np.polyfit(expected, signal.values, 1)[0] == pytest.approx(1, abs=0.15)


def test_a_sensor_that_was_on_before_the_film_is_cut(shaken, tmp_path, capsys):
    sensor, output, picture = write_series(tmp_path / "gyro.csv", shaken.values), tmp_path / "out.csv", tmp_path / "look.png"

    assert run(shaken.film, sensor, "--output", output, "--picture", picture) == 0

    rows, cells = rows_of(output), rows_of(sensor)
    assert float(rows[0]["time"]) == 0
    assert len(rows) == pytest.approx(13 * RATE, abs=3)
    # The sample of the film's second 5 has the values that were measured then.
    fifth = min(rows, key=lambda row: abs(float(row["time"]) - 5))
    found = next(n for n, cell in enumerate(cells) if [cell[c] for c in "xyz"] == [fifth[c] for c in "xyz"])
    assert found / RATE - EARLY == pytest.approx(5, abs=0.03)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "before the video" in capsys.readouterr().out


def test_a_sensor_that_came_later_gets_a_first_row_without_values(shaken, tmp_path):
    sensor = write_series(tmp_path / "gyro.csv", shaken.values[5 * RATE :])

    assert run(shaken.film, sensor) == 0

    rows = rows_of(tmp_path / "gyro.aligned.csv")
    assert rows[0] == {"time": "0", "x": "", "y": "", "z": ""}
    assert float(rows[1]["time"]) == pytest.approx(2, abs=0.03)
    assert len(rows) == len(shaken.values) - 5 * RATE + 1


def test_dates_and_json_stay_what_they_are(shaken, tmp_path):
    values = shaken.values.round(4)
    times = [f"2024-03-05 10:00:{n / RATE:06.3f}" for n in range(len(values))]
    sensor = tmp_path / "gyro.json"
    sensor.write_text(json.dumps({"When": times, **dict(zip("xyz", values.T.tolist(), strict=True))}))

    assert run(shaken.film, sensor, "--time-column", "when", "--time-format", "%Y-%m-%d %H:%M:%S.%L") == 0

    rows = rows_of(tmp_path / "gyro.aligned.csv")
    assert list(rows[0]) == ["When", "x", "y", "z"]
    seconds = float(rows[0]["When"].removeprefix("2024-03-05 10:00:"))
    assert seconds == pytest.approx(EARLY, abs=0.03)
    kept = {row["When"]: row for row in rows[1:]}
    assert set(kept) <= set(times)
    assert float(kept[times[700]]["y"]) == values[700, 1]


def test_columns_without_names_and_other_separators_stay(shaken, tmp_path):
    sensor, output = tmp_path / "gyro.txt", tmp_path / "out.txt"
    rows = [";".join([f"{n / RATE:.2f}", *(f"{value:.4f}" for value in row)]) for n, row in enumerate(shaken.values)]
    sensor.write_text("\n".join(rows) + "\n")

    assert run(shaken.film, sensor, "--time-column", "0", "--sep", ";", "--channels", "1,2,3", "--output", output) == 0

    written = output.read_text().splitlines()
    assert written[0].startswith("0;")
    assert {row.split(";", 1)[1] for row in written} <= {row.split(";", 1)[1] for row in rows}


def test_strange_sensors_are_not_believed(shaken, tmp_path):
    film = measure(shaken.film)
    strange = {
        "noise": np.random.default_rng(9).normal(size=shaken.values.shape),
        "another time": restless(np.random.default_rng(12), 16, 3),
        "on its way": np.cumsum(np.random.default_rng(13).normal(size=shaken.values.shape), axis=0),
    }

    for name, values in strange.items():
        sensor = read_sensor(write_series(tmp_path / "s.csv", values), settings("x", "y", "z"))
        assert compare(film, sensor, 20).confidence < MINIMUM_CONFIDENCE, name


def test_what_is_not_answered_is_not_written(shaken, tmp_path, capsys):
    sensor = write_series(tmp_path / "gyro.csv", shaken.values[::-1])

    assert run(shaken.film, sensor) == 3

    assert "Not answered" in capsys.readouterr().out
    assert not (tmp_path / "gyro.aligned.csv").exists()


def test_a_sensor_on_what_moves_before_a_still_camera(tmp_path):
    rng = np.random.default_rng(8)
    pushed = restless(rng, 24, 2) * np.repeat(rng.uniform(0, 1, 48) > 0.5, RATE // 2)[:, None]
    pushed = gaussian_filter1d(pushed, 0.05 * RATE, axis=0)
    at, place = np.arange(len(pushed)) / RATE - 2.5, 48 + 6 * pushed
    ground, rows, columns = rng.uniform(60, 120, (96, 96)), *np.mgrid[:96, :96]
    pictures = []
    for number in range(20 * FRAMES):
        x, y = (np.interp(number / FRAMES, at, column) for column in place.T)
        thing = np.clip(13 - np.hypot(columns - x, rows - y), 0, 1)
        pictures.append(np.repeat((ground + thing * (250 - ground)).astype(np.uint8)[..., None], 3, axis=2))
    film = write_video(tmp_path / "thing.mp4", pictures, FRAMES)
    speed = np.gradient(pushed, axis=0) * RATE
    worn = speed @ np.array([[0.7, 0.5, 0.5], [-0.1, 0.8, -0.6]]) + rng.normal(0, 0.05, (len(speed), 3)) + [0, 0, 9.8]

    found = compare(measure(film), read_sensor(write_series(tmp_path / "s.csv", worn), settings("x", "y", "z")), 20)

    by_method = {compared.method: compared for compared in found.compared}
    assert by_method[SCENE].found.offset == pytest.approx(-2.5, abs=0.06)
    assert by_method[SCENE].confidence > 0.5
    assert found.offset == pytest.approx(-2.5, abs=0.06)


def test_a_sound_is_compared_with_vibration(tmp_path):
    rng = np.random.default_rng(5)
    knocks, loud = np.sort(rng.uniform(0, 20, 40)), 16000
    at, when = np.arange(20 * loud) / loud, np.arange(24 * 200) / 200 - 4
    heard = sum(np.exp(-np.maximum(at - k, 0) * 30) * (at >= k) for k in knocks) * rng.normal(0, 0.2, len(at))
    felt = sum(np.exp(-np.maximum(when - k, 0) * 30) * (when >= k) for k in knocks) * rng.normal(size=len(when))
    sound = write_sound(tmp_path / "knocks", np.clip(heard, -1, 1).astype(np.float32), loud)
    sensor = write_series(tmp_path / "felt.csv", (felt + rng.normal(0, 0.01, len(felt)))[:, None], rate=200)

    assert run(sound, sensor) == 0

    rows = rows_of(tmp_path / "felt.aligned.csv")
    assert len(rows) == pytest.approx(20 * 200, abs=6)


def test_two_clocks_that_drift_apart():
    rng = np.random.default_rng(6)
    moved, mounted = restless(rng, 260, 2), np.array([[0.2, 0.9, 0.0], [-0.7, 0.1, 0.5]])
    at = np.arange(len(moved)) / RATE
    video = np.arange(0, 240, 1 / FRAMES)
    turned = [Signal(video, np.interp(video, at, column)) for column in moved.T]
    own = np.arange(0, 230, 1 / RATE)
    on_video = 4 + (1 + 300e-6) * own
    measured = np.stack([np.interp(on_video, at, column) for column in moved.T], axis=1) @ mounted
    channels = [Signal(own, column) for column in (measured + rng.normal(0, 0.3, measured.shape)).T]

    found = correlate_channels(turned, channels, 20)

    assert found.offset == pytest.approx(4, abs=0.03)
    assert found.drift == pytest.approx(300e-6, abs=60e-6)
    assert visual_confidence(found) > 0.9


def test_strangers_are_seldom_sure():
    sure = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        one, two = restless(rng, 9, 3), restless(rng, 12, 3)
        signals = [[Signal(np.arange(len(s)) / RATE, column) for column in s.T] for s in (one, two)]
        sure.append(visual_confidence(correlate_channels(*signals, 20)))

    assert max(sure) < 0.3


def test_methods_that_agree_are_surer_than_each(shaken, tmp_path):
    sensor = read_sensor(write_series(tmp_path / "s.csv", shaken.values), settings("x", "y", "z"))
    energy = Signal(sensor.energy.seconds - EARLY, sensor.energy.values)
    moved = measure_turning(shaken.film).signals

    alone = compare({CAMERA: moved}, sensor, 20)
    both = compare({CAMERA: moved, SCENE: (energy,)}, sensor, 20)
    strange = Signal(energy.seconds, energy.values[::-1])

    assert both.offset == pytest.approx(-EARLY, abs=0.03)
    assert both.confidence > alone.confidence
    assert compare({CAMERA: moved, SOUND: (strange,)}, sensor, 20).offset == alone.offset


def settings(*channels: str):
    from framewise.labeling_config import SeriesSettings

    return SeriesSettings("time", "", False, ",", False, channels)


@pytest.mark.parametrize(
    ("text", "flags", "told"),
    [
        ("x,y\n" + "1,2\n3,4\n" * 600, [], ["--time-column", "no column 'time'", "x, y"]),
        ("time,x\n" + "".join(f"{5 * n},{n % 3}\n" for n in range(9)), [], ["several samples per second", "%Q"]),
        ("time,x\n0,1\n0.1,2\n0.2,5\n", [], ["at least 4 s", "0.200 s"]),
        ("time,x\n" + "".join(f"{n / 50},{n % 7}\n" for n in range(500)), ["--channels", "w"], ["columns ['w']", "it has"]),
        ("time,x\n" + "".join(f"{n / 50},{n % 7}\n" for n in range(500)), ["--channels", "x,w"], ["s.csv", "channel ['w']"]),
        ("time\n" + "".join(f"{n / 50}\n" for n in range(500)), ["--sep", "auto"], ["s.csv", "separator"]),
        ("time,x\nnoon,1\nlater,2\n", [], ["expected times a number", "'noon'"]),
        ("time,x\n1,1\n2,2\n", ["--time-format", "nothing"], ["timeFormat", "directives"]),
        ("time,x\n1,1\n2,2\n", ["--time-format", "%Y-%m-%d"], ["%Y-%m-%d", "sample 1"]),
        ("", [], ["s.csv", "at least two rows"]),
    ],
)
def test_input_that_cannot_be_aligned_is_named(shaken, tmp_path, capsys, text, flags, told):
    sensor = tmp_path / "s.csv"
    sensor.write_text(text)

    assert run(shaken.film, sensor, *flags) == 2

    error = capsys.readouterr().err
    assert not [part for part in told if part not in error], error


def test_a_sensor_that_never_changes_is_not_answered(shaken, tmp_path, capsys):
    sensor, picture = write_series(tmp_path / "s.csv", np.ones((800, 2))), tmp_path / "look.png"

    assert run(shaken.film, sensor, "--picture", picture) == 3
    assert picture.exists()
    assert "does not change" in capsys.readouterr().out


def test_files_that_are_read_are_never_written(shaken, tmp_path, capsys):
    sensor = write_series(tmp_path / "s.csv", shaken.values)
    before = sensor.read_bytes()

    assert run(shaken.film, sensor, "--output", sensor) == 2
    assert run(tmp_path / "none.mp4", sensor) == 2
    assert run(sensor, sensor) == 2
    assert run(write_silence(tmp_path / "silence.mp4", 8), sensor) == 3
    assert sensor.read_bytes() == before
