"""Video files are decoded picture by picture with exact times, and files that are none are refused by name."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from framewise.core.errors import MediaError
from framewise.media.video import decode, probe
from tests.index_clips import make_index_clip, read_index
from tests.videos import colour_pictures, cut, write_sound, write_video


def seconds_and_indices(path):
    """Exact presentation time of each decoded picture, and the index that its pixels carry."""
    time_base = probe(path).time_base
    pictures = [(picture.pts * time_base, read_index(picture.rgb)) for picture in decode(path)]
    return [seconds for seconds, _ in pictures], [index for _, index in pictures]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("frame_rate", [25, 15, Fraction(30000, 1001)])
def test_every_picture_comes_in_order_with_its_exact_time(tmp_path, codec, frame_rate):
    path = make_index_clip(tmp_path / "clip.mp4", 40, frame_rate, size=(64, 64), codec_name=codec)
    seconds, indices = seconds_and_indices(path)
    assert indices == list(range(40))
    assert seconds == [index / Fraction(frame_rate) for index in range(40)]


def test_a_variable_rate_keeps_its_times(tmp_path):
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(11, 20), Fraction(2)]
    path = make_index_clip(tmp_path / "clip.mp4", 5, 10, size=(64, 64), presentation_times=times)
    assert seconds_and_indices(path) == (times, [0, 1, 2, 3, 4])


def test_a_start_offset_is_kept(tmp_path):
    path = make_index_clip(tmp_path / "clip.mp4", 5, 25, size=(64, 64), start_offset=1)
    assert seconds_and_indices(path)[0] == [1 + Fraction(index, 25) for index in range(5)]


def test_the_header_of_a_video(tmp_path):
    path = make_index_clip(tmp_path / "clip.mp4", 50, 25, size=(96, 64))
    info = probe(path)
    assert (info.width, info.height, info.codec, info.average_rate) == (96, 64, "h264", 25)
    assert info.duration_seconds == info.video_seconds == 2.0


def test_sound_that_is_longer_than_the_pictures_counts_in_the_duration(tmp_path):
    path = make_index_clip(tmp_path / "clip.mp4", 100, 25, size=(64, 64), audio_seconds=4.5)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        sound_seconds = float(stream.duration * stream.time_base)
    info = probe(path)
    assert info.video_seconds == 4.0
    assert info.duration_seconds == pytest.approx(sound_seconds, abs=1e-6)
    assert info.duration_seconds == pytest.approx(4.5, abs=0.03)


def test_sound_that_is_longer_makes_no_truncated_matroska(tmp_path):
    """Matroska says how long the whole is, and of its streams in tags alone; without those the pictures' end is unknown."""
    source = make_index_clip(tmp_path / "clip.mp4", 50, 25, size=(64, 64), audio_seconds=5)
    path, untagged = tmp_path / "clip.mkv", tmp_path / "untagged.mkv"
    with av.open(str(source)) as read, av.open(str(path), "w") as write:
        streams = [write.add_stream_from_template(stream) for stream in read.streams]
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                write.mux(packet)
    untagged.write_bytes(path.read_bytes().replace(b"DURATION", b"SOMETHIN"))
    for file, video_seconds in ((path, pytest.approx(2.0, abs=0.05)), (untagged, 0.0)):
        assert probe(file).duration_seconds == pytest.approx(5.0, abs=0.05)
        assert probe(file).video_seconds == video_seconds
        assert len(list(decode(file))) == 50


def test_the_header_names_format_and_container_not_a_decoder(tmp_path):
    path = tmp_path / "clip.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libsvtav1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(colour_pictures(1)[0], format="rgb24")))
        container.mux(stream.encode(None))
    info = probe(path)
    assert (info.codec, info.pixel_format, info.container) == ("av1", "yuv420p", "matroska,webm")


def test_the_header_says_when_the_first_stream_starts(tmp_path):
    alone = make_index_clip(tmp_path / "alone.mp4", 5, 25, size=(64, 64), start_offset=1)
    with_sound = make_index_clip(tmp_path / "sound.mp4", 5, 25, size=(64, 64), start_offset=1, audio_seconds=1)
    assert (probe(alone).start_seconds, probe(with_sound).start_seconds) == (1.0, 0.0)


def test_pictures_have_the_colours_that_were_written(tmp_path):
    written = colour_pictures(3)
    path = write_video(tmp_path / "clip.mp4", written)
    for picture, original in zip(decode(path), written, strict=True):
        # H.264 keeps colour at half the resolution: compare the middles of the blocks
        middles = picture.rgb[10::21, 12::24].astype(int)
        assert np.abs(middles - original[10::21, 12::24]).max() <= 12


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_are_upright_as_opencv_turns_them(tmp_path, rotation):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(2, size=(128, 64)), rotation=rotation)
    read, bgr = cv2.VideoCapture(str(path)).read()
    assert read
    turned = next(decode(path)).rgb
    assert turned.shape == bgr.shape == ((128, 64, 3) if rotation in (90, 270) else (64, 128, 3))
    assert np.abs(turned.astype(int) - bgr[..., ::-1]).mean() < 1


def write_bytes(content):
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_bytes(b""), "not a video that can be read"),
        (write_bytes(b"<html>not found</html>" * 100), "not a video that can be read"),
        (write_bytes(bytes(range(256)) * 100), "not a video that can be read"),
        (write_sound, "expected a video stream, found audio"),
        (lambda path: cut(write_video(path, colour_pictures(10), fast_start=False), 0.7), "not a video that can be read"),
    ],
    ids=["empty", "a page", "garbage", "sound alone", "cut before its index"],
)
def test_a_file_that_is_no_video_is_refused_by_name(tmp_path, write, message):
    path = tmp_path / "upload.mp4"
    write(path)
    for read in (probe, lambda p: list(decode(p))):
        with pytest.raises(MediaError, match=rf"^upload\.mp4: {message}"):
            read(path)


def test_a_file_that_ends_long_before_its_header_says_is_refused(tmp_path):
    path = cut(write_video(tmp_path / "upload.mp4", colour_pictures(100)), 0.5)
    with pytest.raises(MediaError, match=r"^upload\.mp4: the header says 4\.00 s of video, but pictures end at .*truncated"):
        list(decode(path))


def test_a_file_whose_pictures_are_all_damaged_is_refused(tmp_path):
    path = write_video(tmp_path / "upload.mp4", colour_pictures(10))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"^upload\.mp4: not one picture could be decoded \(codec h264\)"):
        list(decode(path))


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(MediaError, match=r"^gone\.mp4: "):
        probe(tmp_path / "gone.mp4")
