"""The rendered clips show what their truth says; index clips are read back picture by picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from framewise.demo import clips
from tests import index_clips


def decode(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Presentation time in seconds and pixels (H, W, 3) uint8 of each picture."""
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def to_frame_labels(intervals: list[tuple[int, int]], num_frames: int) -> np.ndarray:
    labels = np.zeros(num_frames, dtype=bool)
    for start, end in intervals:
        labels[start - 1 : end] = True
    return labels


def near_an_edge(labels: np.ndarray, reach: int) -> np.ndarray:
    """True in frames that have a change of the label within `reach` frames."""
    padded = np.pad(labels, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return windows.any(axis=1) & ~windows.all(axis=1)


def white(picture: np.ndarray) -> np.ndarray:
    """The ball's leather: whiter than the lines at their brightest."""
    return picture.min(axis=2) > 190


def boot(picture: np.ndarray) -> np.ndarray:
    """Pixels of the boot's colour whose neighbours have it too (compression tints a few others)."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    coloured = (red > 190) & (green < 120) & (blue < 150)
    return ~grown(~coloured, 1)


def grown(mask: np.ndarray, reach: int) -> np.ndarray:
    """Every pixel within `reach` of the mask, in a square."""
    padded = np.pad(mask, reach)
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1)).any(axis=(2, 3))


@pytest.mark.parametrize("seed", [3, 4])
def test_the_truth_says_what_is_drawn(tmp_path, seed):
    truth = clips.render_clip(tmp_path / "clip.mp4", seed, num_touches=2)
    pictures = [picture for _, picture in decode(truth.path)]
    assert len(pictures) == truth.num_frames

    num_white = np.array([white(picture).sum() for picture in pictures])
    in_frame = to_frame_labels(truth.intervals[clips.BALL_IN_FRAME], truth.num_frames)
    clear = ~near_an_edge(in_frame, 3)
    # a ball with its centre on the edge shows half of itself; a boot or a leg may hide a part
    np.testing.assert_array_equal((num_white > 0.4 * num_white.max())[clear], in_frame[clear])

    touched = to_frame_labels(truth.intervals[clips.BALL_TOUCH], truth.num_frames)
    # an outermost pixel is lost by `boot`, another by soft edges; the next picture's gap is at least 6 pixels
    met = np.array([(grown(boot(picture), 4) & white(picture)).any() for picture in pictures])
    np.testing.assert_array_equal(met, touched)


def test_clips_hold_zero_to_three_touches_in_turn(tmp_path):
    told = []
    truths = clips.render_clips(tmp_path / "new", 5, seed=1, progress=lambda done, count: told.append((done, count)))

    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert [len(truth.intervals[clips.BALL_TOUCH]) for truth in truths] == [1, 0, 2, 1, 3]
    for truth in truths:
        assert truth.frame_rate == 25
        assert 150 <= truth.num_frames <= 250
        touched = to_frame_labels(truth.intervals[clips.BALL_TOUCH], truth.num_frames)
        in_frame = to_frame_labels(truth.intervals[clips.BALL_IN_FRAME], truth.num_frames)
        assert in_frame[touched].all()
        assert in_frame.any()
        assert not in_frame.all()
        assert all(8 <= end - start + 1 <= 20 for start, end in truth.intervals[clips.BALL_TOUCH])


def test_the_same_seed_gives_the_same_file(tmp_path):
    first, second, other = (clips.render_clip(tmp_path / f"{name}.mp4", seed) for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    assert first.intervals == second.intervals
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.path.read_bytes() != other.path.read_bytes()


def test_position_in_the_clip_tells_little():
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(40):
        scene = clips.make_scene(rng, num_touches=1)
        ((start, _),) = scene.intervals()[clips.BALL_TOUCH]
        starts.append(start / len(scene.ball))
    # each quarter of the clips' length has its share of 40 touches
    assert np.histogram(starts, bins=4, range=(0, 1))[0].min() >= 4


def test_more_than_three_touches_are_refused(tmp_path):
    with pytest.raises(ValueError, match="0 to 3, got 4"):
        clips.render_clip(tmp_path / "clip.mp4", 0, num_touches=4)


@pytest.mark.parametrize("codec_name", ["libx264", "mpeg4"])
@pytest.mark.parametrize("frame_rate", [Fraction(25), Fraction(30000, 1001), Fraction(15)])
def test_index_clip_is_read_back(tmp_path, codec_name, frame_rate):
    path = index_clips.make_index_clip(tmp_path / "clip.mp4", 70, frame_rate, codec_name=codec_name)
    decoded = decode(path)
    assert [index_clips.read_index(picture) for _, picture in decoded] == list(range(70))
    assert [time for time, _ in decoded] == [index / frame_rate for index in range(70)]


def test_index_clip_with_given_times(tmp_path):
    times = [Fraction(0), Fraction(1, 25), Fraction(1, 5), Fraction(23, 100), Fraction(2)]
    path = index_clips.make_index_clip(
        tmp_path / "clip.mp4", 5, 25, presentation_times=times, start_offset=Fraction(3, 10), size=(160, 120)
    )
    decoded = decode(path)
    assert [index_clips.read_index(picture) for _, picture in decoded] == [0, 1, 2, 3, 4]
    assert [time for time, _ in decoded] == [time + Fraction(3, 10) for time in times]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(51, 25)  # 2 s and the last picture's 1/25 s


def test_index_clip_with_longer_sound(tmp_path):
    path = index_clips.make_index_clip(tmp_path / "clip.mp4", 100, 25, audio_seconds=4.5)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.duration * video.time_base == 4
        assert audio.duration * audio.time_base == Fraction(9, 2)
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio)])
    assert 0.2 < np.abs(samples).max() < 0.35  # a sine of 0.25, and what the encoder adds


def test_the_highest_index_is_read_back_at_another_size():
    picture = index_clips.draw_index(65535, 320, 240)
    assert index_clips.read_index(picture[::2, ::3]) == 65535


def test_a_grey_picture_has_no_index():
    with pytest.raises(ValueError, match="cell 0, 0 .* grey"):
        index_clips.read_index(np.full((240, 320, 3), 128, dtype=np.uint8))


@pytest.mark.parametrize(
    ("num_frames", "times", "message"),
    [
        (0, None, "1 to 65536, got 0"),
        (2, [Fraction(0)], "2 pictures need as many"),
        (2, [Fraction(1), Fraction(1)], "increasing"),
        (1, [Fraction(-1)], "not negative"),
    ],
)
def test_impossible_index_clips_are_refused(tmp_path, num_frames, times, message):
    with pytest.raises(ValueError, match=message):
        index_clips.make_index_clip(tmp_path / "clip.mp4", num_frames, 25, presentation_times=times)
