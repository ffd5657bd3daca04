"""Advice about files' timing, on real files: the finding, its meaning, and a cure to be pasted."""

import json
import re
import shlex
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from framewise.core.errors import MediaError
from framewise.core.frame_grid import parse_frame_rate
from framewise.media.audio import decode_audio
from framewise.media.video import Losses, decode, probe
from framewise.media.video_notes import VideoFacts, picture_rate, timing_notes
from tests.index_clips import make_index_clip, read_index
from tests.videos import colour_pictures, cut, write_sound, write_timed, write_video
from tests.web_server import Page

NTSC = Fraction(30000, 1001)


def facts(path: Path, frame_rate: float) -> VideoFacts:
    """As they are kept in the database."""
    losses = Losses()
    pts = np.array([picture.pts for picture in decode(path, None, losses)])
    found = VideoFacts.of(probe(path), pts, frame_rate, losses)
    return VideoFacts.from_json(json.loads(json.dumps(found.to_json())))


def advice(path: Path, frame_rate: float, annotated: int = 0) -> list[str]:
    notes = timing_notes(path.name, facts(path, frame_rate), frame_rate, annotated)
    return [note.about(path.name) for note in notes]


def write(path: Path, codec: str, pixel_format: str = "yuv420p", **options: str) -> Path:
    """A file of ten grey pictures, 25 a second, in the container of the path's suffix, that with FFmpeg's options."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        for index in range(10):
            picture = np.full((64, 96, 3), index * 10, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("file_rate", "frame_rate"),
    [
        (25, 25.0),
        (30, 30.0),
        (NTSC, 29.97),
        (NTSC, 30000 / 1001),
        (Fraction(24000, 1001), 23.976),
        (Fraction(60000, 1001), 59.94),
    ],
)
def test_nothing_is_said_of_a_file_at_the_rate_of_the_config(tmp_path, file_rate, frame_rate):
    assert advice(make_index_clip(tmp_path / "clip.mp4", 100, file_rate, size=(64, 64)), frame_rate) == []


@pytest.mark.parametrize(
    ("file_rate", "frame_rate", "right"), [(24, 23.976, "24"), (Fraction(24000, 1001), 24.0, "23.976"), (NTSC, 30.0, "29.97")]
)
def test_rates_that_drift_apart_within_a_minute_are_told_apart(tmp_path, file_rate, frame_rate, right):
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 100, file_rate, size=(64, 64)), frame_rate)
    assert f'frameRate="{right}"' in text


def test_a_file_of_another_rate_is_named_with_both_rates_the_effect_and_two_cures(tmp_path):
    # 300 pictures in 10.01 s are 250 frames at 25 a second: 50 pictures have none
    (text,) = advice(make_index_clip(tmp_path / "my clip.mp4", 300, NTSC, size=(64, 64)), 25.0)
    assert text.startswith(
        "my clip.mp4: 29.97 pictures a second, but the labeling config's frameRate is 25 "
        "(of its 300 pictures Label Studio never shows 50, and 0 of its 250 frames show a picture once more). "
    )
    assert 'Before you annotate, write frameRate="29.97" into the Video tag' in text
    line = "ffmpeg -i 'my clip.mp4' -vf fps=25 -c:v libx264 -pix_fmt yuv420p -movflags +faststart 'my clip-25fps.mp4'"
    assert line in text


def test_a_slower_file_shows_pictures_more_than_once(tmp_path):
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 30, 15, size=(64, 64)), 30.0)
    assert "never shows 0, and 30 of its 60 frames show a picture once more" in text


def test_a_variable_rate_is_called_one_and_not_put_into_the_config(tmp_path):
    steps = [Fraction(step, 1000) for step in (40, 40, 80, 40, 20, 40, 160, 40, 33)]
    times = [sum(steps[:index], Fraction(0)) for index in range(10)]
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 10, 25, size=(64, 64), presentation_times=times), 25.0)
    assert "a variable number of pictures a second" in text
    assert "(about 25 pictures a second; " in text
    assert "into the Video tag" not in text
    assert "ffmpeg -i clip.mp4 -vf fps=25 " in text


def test_with_annotations_nobody_is_told_to_change_the_frame_rate(tmp_path):
    """Followed, it would move every region: at 30 a second, what was drawn at 60 s with 25 a second is shown at 50 s."""
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 30, 30, size=(64, 64)), 25.0, annotated=5)
    assert "Before you annotate" not in text
    assert "Convert it. Leave frameRate as it is: another one would move the regions of 5 annotations in Label Studio" in text
    assert "at 30 from 60 s to 50 s" in text


def test_a_frame_rate_below_one_is_never_advised(tmp_path):
    """frameRate="0.5" would be two frames a second to Label Studio."""
    clip = facts(make_index_clip(tmp_path / "clip.mp4", 10, 25, size=(64, 64)), 25.0)
    slow = replace(clip, rate=0.5, span_seconds=18.0, longest_seconds=20.0)
    for annotated in (0, 5):
        (note,) = timing_notes("clip.mp4", slow, 25.0, annotated)
        assert note.found == "a picture each 2 s, but the labeling config's frameRate is 25"
        assert 'frameRate="' not in note.cure
        assert " at 0.5" not in note.cure


def test_notes_are_of_the_labeling_config_of_now(tmp_path):
    """Facts that were noted at 25 a second, looked at with other rates."""
    known = facts(make_index_clip(tmp_path / "clip.mp4", 300, 30, size=(64, 64)), 25.0)
    assert timing_notes("clip.mp4", known, 30.0) == []
    (note,) = timing_notes("clip.mp4", known, 15.0)
    assert note.detail == "of its 300 pictures Label Studio never shows 150, and 0 of its 150 frames show a picture once more"


def test_a_dropped_picture_makes_no_variable_rate(tmp_path):
    times = [Fraction(index, 25) for index in range(51) if index != 20]
    assert advice(make_index_clip(tmp_path / "clip.mp4", 50, 25, size=(64, 64), presentation_times=times), 25.0) == []


def test_times_rounded_to_milliseconds_have_the_rate_that_was_rounded():
    for rate in (NTSC, Fraction(24000, 1001), Fraction(60000, 1001), Fraction(30)):
        pts = np.array([round(1000 * index / rate) for index in range(600)])
        found, constant = picture_rate(pts, Fraction(1, 1000))
        assert constant
        assert found == pytest.approx(float(rate), rel=1e-3)


def test_one_picture_has_no_rate_to_speak_of(tmp_path):
    assert advice(make_index_clip(tmp_path / "clip.mp4", 1, 10, size=(64, 64)), 25.0) == []


@pytest.mark.parametrize(
    ("file", "codec", "pixel_format", "what"),
    [
        ("clip.mp4", "mpeg4", "yuv420p", "the codec MPEG-4 Part 2 (which OpenCV writes"),
        ("clip.mov", "mjpeg", "yuvj420p", "the codec mjpeg. "),
        ("clip.avi", "libx264", "yuv420p", "the container avi. "),
        ("clip.avi", "mpeg4", "yuv420p", "nor the container avi. "),
        ("clip.ts", "libx264", "yuv420p", "the container mpegts. "),
    ],
)
def test_what_no_browser_plays_is_named_with_its_cure(tmp_path, file, codec, pixel_format, what):
    text = advice(write(tmp_path / file, codec, pixel_format), 25.0)[0]
    assert text.startswith(f"{file}: browsers do not play ")
    assert what in text
    # FFmpeg guesses when the pictures of H.264 in AVI are shown, and begins too late
    filters = "-vf setpts=PTS-STARTPTS " if (file, codec) == ("clip.avi", "libx264") else ""
    assert text.endswith(f"ffmpeg -i {file} {filters}-c:v libx264 -pix_fmt yuv420p -movflags +faststart clip-h264.mp4")


def test_a_name_that_label_studio_takes_for_unplayable_is_to_be_changed(tmp_path):
    (text,) = advice(write(tmp_path / "clip.mov", "libx264"), 25.0)
    assert text.startswith("clip.mov: Label Studio asks the browser about video/quicktime")
    assert text.endswith("ffmpeg -i clip.mov -c copy -movflags +faststart clip-copy.mp4")


def test_a_recording_without_a_length_ends_the_editor(tmp_path):
    (text,) = advice(write(tmp_path / "clip.webm", "libvpx", live="1"), 25.0)
    assert text.startswith("clip.webm: the header does not say how long it is")
    assert text.endswith("ffmpeg -i clip.webm -c copy clip-copy.webm")


def test_a_clock_that_jitters_by_a_millisecond_is_constant():
    rng = np.random.default_rng(0)
    pts = np.array([3000 * index + rng.integers(-90, 91) for index in range(900)])
    found, constant = picture_rate(pts, Fraction(1, 90000))
    assert constant
    assert found == pytest.approx(30.0, rel=1e-4)


def test_hevc_plays_in_some_browsers(tmp_path):
    (text,) = advice(write(tmp_path / "clip.mp4", "libx265"), 25.0)
    assert text.startswith("clip.mp4: the codec HEVC (H.265) plays in some browsers only")


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv422p", "yuv420p10le"])
def test_h264_beyond_eight_bits_and_half_colour_plays_in_some_browsers(tmp_path, pixel_format):
    (text,) = advice(write(tmp_path / "clip.mp4", "libx264", pixel_format), 25.0)
    assert text.startswith(
        f"clip.mp4: H.264 with the pixel format {pixel_format} plays in Chromium and Chrome, but not in Firefox"
    )


@pytest.mark.parametrize(
    ("file", "codec", "pixel_format"),
    [
        ("clip.mp4", "libx264", "yuv420p"),
        ("clip.mp4", "libx264", "yuvj420p"),
        ("clip.mkv", "libx264", "yuv420p"),
        ("clip.webm", "libvpx", "yuv420p"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip.mp4", "libsvtav1", "yuv420p"),
    ],
)
def test_nothing_is_said_of_what_browsers_play(tmp_path, file, codec, pixel_format):
    assert advice(write(tmp_path / file, codec, pixel_format), 25.0) == []


def test_pictures_that_start_late_and_alone_leave_the_length_open(tmp_path):
    # a second of nothing, then 2 s of pictures, the last at 2.96 s: the header says 2 s
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 50, 25, size=(64, 64), start_offset=1), 25.0)
    assert text.startswith(
        "clip.mp4: nothing in the file begins at 0 s, so browsers disagree about its length "
        "(it begins at 1.000 s and is 50 or 74 frames long)"
    )
    assert text.endswith("ffmpeg -i clip.mp4 -c:v libx264 -pix_fmt yuv420p -movflags +faststart clip-from-0.mp4")


def test_pictures_that_start_after_the_sound_are_as_long_as_they_seem(tmp_path):
    path = make_index_clip(tmp_path / "clip.mp4", 50, 25, size=(64, 64), start_offset=1, audio_seconds=3)
    assert advice(path, 25.0) == []


def test_of_what_no_browser_plays_the_beginning_does_not_matter(tmp_path, ffmpeg):
    (text,) = advice(write(tmp_path / "clip.ts", "libx264"), 25.0)  # MPEG-TS has a clock of its own
    assert probe(tmp_path / "clip.ts").start_seconds > 0
    assert probe(ffmpeg(text)).start_seconds == 0


def test_a_line_to_paste_keeps_names_with_blanks_and_quotes_whole(tmp_path):
    (text,) = advice(write(tmp_path / "it's a clip.mp4", "mpeg4"), 25.0)
    found = re.search(r"ffmpeg .*", text)
    assert found
    assert shlex.split(found.group())[1:3] == ["-i", "it's a clip.mp4"]
    assert shlex.split(found.group())[-1] == "it's a clip-h264.mp4"


# Cures that were tried.


@pytest.mark.parametrize("step", [2, 300, Fraction(101, 100)])
def test_no_rate_is_advised_that_label_studio_would_take_for_seconds_a_frame(tmp_path, step, ffmpeg):
    assert parse_frame_rate("0.5") == 2.0
    path = write_timed(tmp_path / "clip.mp4", [step * index for index in range(5)], step)
    (text,) = advice(path, 25.0)
    assert "frameRate=" not in text
    assert f"clip.mp4: a picture each {float(step):.3f}".rstrip("0").rstrip(".") in text
    assert text.endswith(
        "convert it: ffmpeg -i clip.mp4 -vf fps=25 -c:v libx264 -pix_fmt yuv420p -movflags +faststart clip-25fps.mp4"
    )
    converted = ffmpeg(text)
    assert advice(converted, 25.0) == []
    assert probe(converted).duration_seconds == pytest.approx(5 * float(step), abs=0.05)


def test_a_rate_of_one_picture_a_second_can_be_written(tmp_path):
    (text,) = advice(write_timed(tmp_path / "clip.mp4", range(5), 1), 25.0)
    assert 'write frameRate="1" into the Video tag, or convert the file: ffmpeg' in text


@pytest.mark.parametrize(("codec", "b_frames"), [("libx264", 3), ("libx264", 0), ("mpeg4", 2), ("mjpeg", 0)])
def test_the_line_for_an_avi_keeps_all_of_its_pictures_at_their_times(tmp_path, codec, b_frames, ffmpeg):
    times = [Fraction(index, 25) for index in range(100)]
    path = write_timed(tmp_path / "clip.avi", times, Fraction(1, 25), codec, Fraction(1, 25), b_frames)
    (text,) = advice(path, 25.0)
    converted = ffmpeg(text)
    assert advice(converted, 25.0) == []
    pictures = list(decode(converted))
    assert [read_index(picture.rgb) for picture in pictures] == list(range(100))
    assert [picture.pts * probe(converted).time_base for picture in pictures] == times


def test_the_line_for_pictures_of_an_odd_size_works(tmp_path, ffmpeg):
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 97, 65, "yuvj444p"
        for picture in colour_pictures(10, (97, 65)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj444p")))
        container.mux(stream.encode(None))
    for text in advice(path, 25.0):
        assert "-vf" in text
        info = probe(ffmpeg(text))
        assert (info.width, info.height, info.codec) == (98, 66, "h264")


def test_pictures_that_are_left_out_are_told_with_their_number_and_a_line_that_keeps_them(tmp_path, ffmpeg):
    """Recordings that were joined byte by byte: each begins its clock anew."""
    for name, first in (("first.ts", 4), ("second.ts", 0)):
        write_timed(tmp_path / name, [Fraction(index, 25) + first for index in range(50)], Fraction(1, 25))
    path = tmp_path / "clip.ts"
    path.write_bytes((tmp_path / "first.ts").read_bytes() + (tmp_path / "second.ts").read_bytes())
    playing, losses, *_ = advice(path, 25.0)
    assert losses.startswith("clip.ts: pictures are left out whose times are not after that of the picture before")
    assert "(50 pictures)" in losses
    assert len(list(decode(ffmpeg(losses)))) == 100


def test_damaged_parts_are_told_with_their_number(tmp_path):
    path = tmp_path / "clip.avi"
    times = [Fraction(index, 25) for index in range(50)]
    write_timed(path, times, Fraction(1, 25), "mjpeg", Fraction(1, 25))
    content = bytearray(path.read_bytes())
    begins = [match.start() for match in re.finditer(b"00dc", content)]
    for number in (10, 20, 21):
        (size,) = struct.unpack_from("<I", content, begins[number] + 4)
        content[begins[number] + 8 : begins[number] + 8 + size] = bytes(size)
    path.write_bytes(content)
    _, losses, *_ = advice(path, 25.0)
    assert losses.startswith("clip.avi: parts of it are damaged and could not be decoded (3 parts). The picture before stays")
    assert "Take another copy" in losses


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "aac"])
def test_the_line_for_a_quicktime_file_keeps_its_sound(tmp_path, codec, ffmpeg):
    """MP4 has no sound that is not compressed, in many versions of FFmpeg."""
    write_timed(tmp_path / "pictures.mp4", [Fraction(index, 25) for index in range(50)], Fraction(1, 25))
    write_sound(tmp_path / "sound.mp4", 2)
    path = ffmpeg(f"ffmpeg -i pictures.mp4 -i sound.mp4 -c:v copy -c:a {codec} clip.mov")
    (text,) = advice(path, 25.0)
    assert ("-c:v copy -c:a aac" in text) == codec.startswith("pcm")
    converted = ffmpeg(text)
    assert (probe(converted).sound, probe(converted).codec) == ("aac", "h264")
    assert len(list(decode(converted))) == 50


# Words for files that are none.


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as refused:
        probe(path)
    assert not set("<>") & set(str(refused.value))
    return str(refused.value)


@pytest.mark.parametrize(
    ("beginning", "said"),
    [
        (b"\x1f\x07\x00\x3f", "it is DV); convert it: ffmpeg -i clip.dat -c:v libx264"),
        (b"YUV4MPEG2 W64 H64", "it is Y4M); convert it: ffmpeg -i clip.dat -c:v libx264"),
        (b"PK\3\4\x14\0", "it is a ZIP archive); unpack it, and upload the files in it"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_helps(tmp_path, beginning, said):
    (tmp_path / "clip.dat").write_bytes(beginning + bytes(2000))
    assert refusal(tmp_path / "clip.dat").startswith(f"clip.dat: not a video that can be read ({said}")


def test_sound_of_another_kind_is_to_be_converted(tmp_path):
    (tmp_path / "a.aiff").write_bytes(b"FORM\0\0\0\x64AIFFCOMM" + bytes(100))
    with pytest.raises(
        MediaError, match=r"not sound that can be read \(it is AIFF\); convert it: ffmpeg -i a.aiff -vn a-flac.flac"
    ):
        list(decode_audio(tmp_path / "a.aiff"))


def test_a_gif_is_to_be_converted_with_a_line_that_works(tmp_path, ffmpeg):
    path = tmp_path / "my clip.gif"
    first, *others = (Image.fromarray(picture) for picture in colour_pictures(8, (161, 121)))
    first.save(path, save_all=True, append_images=others, duration=100)
    text = refusal(path)
    assert text.startswith("my clip.gif: not a video that can be read (it is a GIF")
    converted = ffmpeg(text)
    assert len(list(decode(converted))) == 8
    assert probe(converted).codec == "h264"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_picture_is_called_one(tmp_path, kind):
    path = tmp_path / "clip.mp4"
    Image.fromarray(colour_pictures(1)[0]).save(path, format=kind)
    assert f"it is a {kind}, a picture".lower() in refusal(path).lower()


def test_a_page_in_place_of_a_file_is_called_one(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("\n<!DOCTYPE html><html><body>Log in</body></html>")
    assert "it is a web page or XML); open its address in a browser" in refusal(path)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_stream_without_a_container_is_to_be_put_into_one(tmp_path, codec, ffmpeg):
    write_timed(tmp_path / "source.mp4", [Fraction(index, 25) for index in range(50)], Fraction(1, 25), b_frames=2)
    encoder = "copy" if codec == "h264" else "libx265 -x265-params log-level=0"
    path = ffmpeg(f"ffmpeg -i source.mp4 -c:v {encoder} -f {codec} clip.{codec}")
    text = refusal(path)
    assert "it is H.264 or H.265 without times" in text
    assert [read_index(picture.rgb) for picture in decode(ffmpeg(text))] == list(range(50))


def test_a_recording_that_broke_off_before_its_index_is_told_so(tmp_path):
    path = cut(write_video(tmp_path / "clip.mp4", colour_pictures(10), fast_start=False), 0.7)
    assert "its index, the box moov, which is written last, is missing" in refusal(path)


def test_a_fetched_file_has_the_name_that_its_user_knows(tmp_path, library, server, ffmpeg):
    """A download lies under its hash, which tells nobody anything, and could not be pasted into a shell."""
    first, *others = (Image.fromarray(picture) for picture in colour_pictures(3))
    first.save(tmp_path / "my clip.gif", save_all=True, append_images=others, duration=100)
    write_timed(tmp_path / "it's.mkv", [Fraction(index, 25) for index in range(100)], Fraction(1, 25))
    cut(tmp_path / "it's.mkv", 0.5)
    said = []
    for path, address in (("my clip.gif", "/my%20clip.gif"), ("it's.mkv", "/it's.mkv")):
        server.pages[address] = Page((tmp_path / path).read_bytes())
        with pytest.raises(MediaError) as refused, library().opened(server.url + address) as file:
            list(decode(file.path))
        said.append(str(refused.value))
    assert said[0].startswith("my clip.gif: not a video that can be read (it is a GIF")
    assert said[1].startswith("it's.mkv: the header says 4.00 s of video")
    assert ffmpeg(said[0]) == tmp_path / "my clip-h264.mp4"
    assert ffmpeg(said[1]) == tmp_path / "it's-copy.mkv"
    assert len(list(decode(tmp_path / "my clip-h264.mp4"))) == 3
