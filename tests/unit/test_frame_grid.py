"""The frame grid reproduces the editor: which time it seeks to, which picture is then on screen, how long the timeline is.

Numbers marked "recorded" were read off a running Label Studio 1.23.2 in Chromium; the others are worked by hand from the
editor's formula t(N) = round(((N - 1) / frameRate) / 0.002) * 0.002 + 0.002.
"""

from fractions import Fraction

import numpy as np
import pytest

from framewise.core.frame_grid import count_frames, js_round, parse_frame_rate, picture_rows, seek_times
from framewise.media.video import decode, probe
from tests.index_clips import make_index_clip, read_index

# Recorded: a file of 15 pictures a second, frameRate="25".
SHOWN_15_AT_25 = {2: 0, 3: 1, 4: 1, 5: 2, 6: 3, 50: 29, 100: 59, 250: 149}
NTSC = Fraction(30000, 1001)


def picture_seconds(frame_rate: Fraction | int, count: int) -> np.ndarray:
    return np.array([float(index / Fraction(frame_rate)) for index in range(count)])


@pytest.mark.parametrize(("frame", "seconds"), [(1, 0.002), (2, 0.042), (100, 3.962)])
def test_seek_times_at_25_are_the_recorded_ones(frame, seconds):
    assert seek_times([frame], 25.0)[0] == pytest.approx(seconds, abs=1e-9)


def test_seek_time_is_rounded_to_the_two_millisecond_grid_before_one_step_is_added():
    # (2 - 1) / 30 = 0.0333.., 16.67 steps: 17 steps are 0.034, and one more
    assert seek_times([2], 30.0)[0] == pytest.approx(0.036, abs=1e-9)


def test_29_97_is_itself_and_not_30000_over_1001():
    # (931 - 1) / 29.97 = 31.031031.. s, (931 - 1) * 1001 / 30000 = 31.031 s: on two sides of a half step of the grid
    assert seek_times([930], 29.97) == seek_times([930], 30000 / 1001)
    assert seek_times([931], 29.97)[0] == pytest.approx(31.034, abs=1e-9)
    assert seek_times([931], 30000 / 1001)[0] == pytest.approx(31.032, abs=1e-9)


def test_seek_times_are_float64_in_the_editors_order_of_operations():
    # JavaScript, Math.round((N - 1) / frameRate / 0.002) * 0.002 + 0.002, as its console prints them
    recorded = {(918, 29.97): 30.599999999999998, (1560, 24.0): 64.96, (1931, 29.97): 64.39999999999999}
    assert {key: float(seek_times([key[0]], key[1])[0]) for key in recorded} == recorded


def test_a_15_fps_file_at_25_shows_the_recorded_pictures():
    rows = picture_rows(picture_seconds(15, 150), 25.0, 250)
    assert {frame: int(rows[frame - 1]) for frame in SHOWN_15_AT_25} == SHOWN_15_AT_25


def test_a_real_15_fps_file_at_25_shows_the_recorded_pictures(tmp_path):
    path = make_index_clip(tmp_path / "clip.mp4", 150, 15, size=(64, 64))
    time_base = probe(path).time_base
    pictures = [(float(picture.pts * time_base), read_index(picture.rgb)) for picture in decode(path)]
    rows = picture_rows([seconds for seconds, _ in pictures], 25.0, count_frames(probe(path).duration_seconds, 25.0))
    assert len(rows) == 250
    assert {frame: pictures[rows[frame - 1]][1] for frame in SHOWN_15_AT_25} == SHOWN_15_AT_25


@pytest.mark.parametrize(("file_rate", "frame_rate"), [(15, 15.0), (25, 25.0), (NTSC, 29.97), (NTSC, 30000 / 1001)])
def test_a_file_at_its_own_rate_shows_its_pictures_one_by_one(file_rate, frame_rate):
    np.testing.assert_array_equal(picture_rows(picture_seconds(file_rate, 300), frame_rate, 300), np.arange(300))


def test_a_29_97_fps_file_at_25():
    # floor(t(N) * 30000 / 1001): 0.042 -> 1.26, 0.082 -> 2.46, 0.162 -> 4.86, 0.202 -> 6.05, 3.962 -> 118.7, 9.962 -> 298.6
    rows = picture_rows(picture_seconds(NTSC, 300), 25.0, 250)
    assert [int(rows[frame - 1]) for frame in (1, 2, 3, 5, 6, 100, 250)] == [0, 1, 2, 4, 6, 118, 298]


def test_a_29_97_fps_file_at_30_falls_one_picture_behind():
    # t(31) = 1.002 -> 30.03; t(100) = 3.302 -> 98.96; t(300) = 9.968 -> 298.7
    rows = picture_rows(picture_seconds(NTSC, 300), 30.0, 300)
    assert [int(rows[frame - 1]) for frame in (1, 2, 31, 100, 300)] == [0, 1, 30, 98, 298]


def test_variable_rate_shows_each_picture_until_the_next():
    # at 10 a second frames 1, 2, 3, 6, 7, 11 seek to 0.002, 0.102, 0.202, 0.502, 0.602, 1.002
    rows = picture_rows([0.0, 0.1, 0.5, 0.55, 1.0], 10.0, 11)
    assert rows.tolist() == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4]


def test_before_the_first_picture_it_is_the_first_and_after_the_last_the_last():
    # pictures at 0.1, 0.2, 0.3 s; frames 1..6 seek to 0.002, 0.102, .., 0.502
    assert picture_rows([0.1, 0.2, 0.3], 10.0, 6).tolist() == [0, 0, 1, 2, 2, 2]


def test_a_picture_at_the_seek_time_itself_is_on_screen():
    assert picture_rows([0.0, 0.5, float(seek_times([3], 2.0)[0])], 2.0, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("file_rate", "frame_rate", "frame", "row"),
    [
        # float64 of (N - 1) / frameRate / 0.002, rounded, * 0.002 + 0.002, in microseconds, against the picture's own:
        (50, 24.0, 1560, 3247),  # 64959999.99999999: before picture 3248 at 64960000
        (50, 24.0, 1608, 3347),  # 66959999.99999999
        (15, 29.97, 1937, 968),  # 64599999.99999999
        (30, 29.97, 918, 917),  # 30599999.999999996
        (50, 23.976, 2247, 4684),  # 93.67999999999999 s, but 93680000.0 microseconds: picture 4684 itself
        (25, 29.97, 538, 448),  # 17.919999999999998 s, 17920000.0 microseconds
        (50, 24.0, 25, 50),  # 1.002 s, inside the picture
    ],
)
def test_times_are_compared_in_whole_microseconds_a_seek_cut_and_a_picture_rounded(file_rate, frame_rate, frame, row):
    """Recorded in Chromium 156, each eight times from other places of the clip."""
    assert int(picture_rows(picture_seconds(file_rate, 121 * file_rate), frame_rate, frame)[-1]) == row


def test_times_of_pictures_are_rounded_to_the_nearest_microsecond():
    # frame 2 at 24 a second seeks to 0.044 s: 43999.6 microseconds are shown from 44000 on, 44000.6 only from 44001 on
    assert picture_rows([0.0, 0.0439996], 24.0, 2).tolist() == [0, 1]
    assert picture_rows([0.0, 0.0440006], 24.0, 2).tolist() == [0, 0]


def test_a_video_without_pictures_is_refused():
    with pytest.raises(ValueError, match="at least one picture"):
        picture_rows([], 25.0, 10)


@pytest.mark.parametrize(
    ("duration_seconds", "frame_rate", "frames"),
    [(4.5, 25.0, 113), (10.0, 25.0, 250), (42.008633, 25.0, 1050), (42.029, 25.0, 1051), (0.0, 25.0, 0)],
)
def test_the_timeline_is_as_long_as_recorded(duration_seconds, frame_rate, frames):
    assert count_frames(duration_seconds, frame_rate) == frames


@pytest.mark.parametrize(("x", "rounded"), [(0.5, 1), (1.5, 2), (2.5, 3), (2.4999, 2), (-0.5, 0), (-1.5, -1)])
def test_halves_are_rounded_up_as_in_javascript(x, rounded):
    assert js_round(x) == rounded


@pytest.mark.parametrize(
    ("text", "frame_rate"),
    [
        (None, 24.0),
        ("", 24.0),
        ("  ", 24.0),
        ("0", 24.0),
        ("abc", 24.0),
        ("25fps", 24.0),
        ("NaN", 24.0),
        ("nan", 24.0),
        ("1_0", 24.0),
        ("25", 25.0),
        (" 25 ", 25.0),
        ("29.97", 29.97),
        ("+30", 30.0),
        ("1e2", 100.0),
        ("50.", 50.0),
        (".5", 2.0),
        ("0.04", 25.0),
        ("1", 1.0),
        (12, 12.0),
        (0.5, 2.0),
    ],
)
def test_frame_rate_is_read_as_the_editor_reads_it(text, frame_rate):
    assert parse_frame_rate(text) == pytest.approx(frame_rate, abs=1e-12)


@pytest.mark.parametrize("text", ["-25", "-0.5", "Infinity", "-Infinity", "1e999", -1, "1e-320"])
def test_a_frame_rate_without_a_timeline_is_refused(text):
    with pytest.raises(ValueError, match="frameRate must be a"):
        parse_frame_rate(text)
