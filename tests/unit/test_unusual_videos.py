"""Videos as they come from cameras, screens and converters: long pictures, mirrored ones, and times that are missing."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from framewise.core.errors import MediaError
from framewise.features.extraction import Timeline
from framewise.media.orientation import AS_IT_LIES, orientation_of
from framewise.media.thumbnails import picture_jpeg
from framewise.media.video import Losses, decode, probe
from tests.index_clips import read_index
from tests.videos import (
    SHOWN_BY_MATRIX,
    corners_of,
    corners_picture,
    cut,
    with_matrix,
    write_timed,
    write_video,
)

LAPSE = [2 * index for index in range(10)]  # a picture each 2 s
SCREEN = [Fraction(index, 10) for index in range(100)]  # ten a second, of which the last stays
STEADY = [Fraction(index, 25) for index in range(100)]
AVI = Fraction(1, 10)  # seconds; of AVI each picture has its place


def indices(path: Path) -> list[int]:
    return [read_index(picture.rgb) for picture in decode(path)]


def timeline(path: Path) -> Timeline:
    return Timeline.of(probe(path), [picture.pts for picture in decode(path)])


LONG = {
    "MP4": ("clip.mp4", "libx264", {}),
    "QuickTime": ("clip.mov", "libx264", {}),
    "Matroska": ("clip.mkv", "libx264", {}),
    "WebM": ("clip.webm", "libvpx", {}),
    "fragments": ("clip.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "MPEG-4 in Matroska": ("clip.mkv", "mpeg4", {"time_base": AVI}),
    "FLV": ("clip.flv", "libx264", {}),
    "AVI": ("clip.avi", "libx264", {"time_base": AVI}),
    "Motion JPEG in AVI": ("clip.avi", "mjpeg", {"time_base": AVI}),
    "Windows media": ("clip.asf", "msmpeg4", {"time_base": AVI}),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_time_lapse_is_whole(tmp_path, kind):
    name, codec, options = LONG[kind]
    path = write_timed(tmp_path / name, LAPSE, 2, codec, **options)
    assert indices(path) == list(range(10))
    assert timeline(path).num_frames(25.0) == 500


@pytest.mark.parametrize("kind", LONG)
def test_a_last_picture_may_stay_for_long(tmp_path, kind):
    name, codec, options = LONG[kind]
    path = write_timed(tmp_path / name, SCREEN, 6, codec, **options)
    assert indices(path) == list(range(100))
    found = timeline(path)
    assert found.num_frames(25.0) == 398  # Label Studio rounds 397.5 up
    assert found.rows(25.0)[397] == 99


@pytest.mark.parametrize("seconds", [LAPSE, SCREEN])
def test_pictures_that_change_their_places_may_be_long_too(tmp_path, seconds):
    path = write_timed(tmp_path / "clip.mp4", seconds, 2, b_frames=3)
    assert indices(path) == list(range(len(seconds)))


def test_a_matroska_that_does_not_say_how_long_its_pictures_are_is_whole_if_all_its_bytes_are_there(tmp_path):
    path = write_timed(tmp_path / "clip.mkv", SCREEN, 6)
    content = path.read_bytes()
    duration = b"\x9b\x82" + struct.pack(">H", 6000)  # BlockDuration, made a Void
    assert content.count(duration) == 1
    path.write_bytes(content.replace(duration, b"\xec" + duration[1:]))
    assert indices(path) == list(range(100))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MediaError, match="says 15.90 s of video, but pictures end at 9.94 s; the file is truncated"):
        indices(path)


@pytest.mark.parametrize("filled", [False, True], ids=["cut", "filled with zeros"])
@pytest.mark.parametrize("seconds", [LAPSE, SCREEN, STEADY], ids=["time-lapse", "screen", "steady"])
@pytest.mark.parametrize(
    ("name", "codec"), [("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.webm", "libvpx"), ("clip.flv", "libx264")]
)
def test_what_is_really_cut_off_is_refused(tmp_path, name, codec, seconds, filled):
    options = {"movflags": "faststart"} if name == "clip.mp4" else {}
    path = write_timed(tmp_path / name, seconds, 6, codec, **options)
    size = path.stat().st_size
    cut(path, 0.8)
    if filled:
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    cure = rf"the header says .* truncated or damaged: upload it again; .* ffmpeg -i {name} "
    with pytest.raises(MediaError, match=rf"^{name}: ({cure}|not one picture could be decoded)"):
        list(decode(path))


def in_fragments(path: Path, seconds: float, fragments: int | None = None) -> Path:
    """A file of 100 pictures in ten fragments, of a header that says how long all of them last; the first ones of them."""
    flags = "frag_keyframe+empty_moov+default_base_moof"
    data = write_timed(path, STEADY, Fraction(1, 25), movflags=flags).read_bytes()
    length = struct.pack(">I4sII", 16, b"mehd", 0, round(1000 * seconds))  # mvhd counts in milliseconds
    mvex, moov = data.index(b"mvex") - 4, data.index(b"moov") - 4
    assert struct.unpack_from(">I", data, data.index(b"mvhd") + 16) == (1000,)
    for at in (mvex, moov):
        (size,) = struct.unpack_from(">I", data, at)
        data = data[:at] + struct.pack(">I", size + len(length)) + data[at + 4 :]
    data = data[: mvex + 8] + length + data[mvex + 8 :]
    if fragments is not None:
        data = b"moof".join(data.split(b"moof")[: fragments + 1])[:-4]
    path.write_bytes(data)
    return path


def test_a_file_that_was_cut_off_between_fragments_is_refused_if_its_header_says_how_long_they_last(tmp_path: Path) -> None:
    assert indices(in_fragments(tmp_path / "whole.mp4", 4)) == list(range(100))
    assert indices(in_fragments(tmp_path / "unknown.mp4", 0, fragments=5)) == list(range(50))
    with pytest.raises(MediaError, match=r"says 4.00 s of video, but pictures end at 2.00 s; the file is truncated"):
        indices(in_fragments(tmp_path / "cut.mp4", 4, fragments=5))


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_an_avi_that_lost_its_end_is_refused(tmp_path, codec):
    path = write_timed(tmp_path / "clip.avi", STEADY, Fraction(1, 25), codec, Fraction(1, 25), b_frames=0)
    size = path.stat().st_size
    path.write_bytes(cut(path, 0.75).read_bytes().ljust(size, b"\0"))
    with pytest.raises(MediaError, match=r"^clip\.avi: the header says 4\.00 s of video"):
        list(decode(path))


def test_the_line_in_a_refusal_writes_what_there_is(tmp_path, ffmpeg):
    path = cut(write_timed(tmp_path / "my clip.mkv", STEADY, Fraction(1, 25)), 0.5)
    with pytest.raises(MediaError) as refusal:
        indices(path)
    ffmpeg(str(refusal.value))
    found = indices(tmp_path / "my clip-copy.mkv")
    assert 20 < len(found) < 80
    assert found == list(range(len(found)))


# Pictures without times of their own.


@pytest.mark.parametrize(("codec", "b_frames"), [("libx264", 3), ("libx264", 0), ("mpeg4", 2), ("mpeg4", 0), ("mjpeg", 0)])
def test_every_picture_of_an_avi_comes_in_its_order(tmp_path, codec, b_frames):
    path = write_timed(tmp_path / "clip.avi", STEADY, Fraction(1, 25), codec, Fraction(1, 25), b_frames)
    losses = Losses()
    pictures = list(decode(path, None, losses))
    assert [read_index(picture.rgb) for picture in pictures] == list(range(100))
    assert [picture.pts * probe(path).time_base for picture in pictures] == STEADY
    assert losses == Losses()
    assert timeline(path).rows(25.0).tolist() == list(range(100))


def test_empty_places_of_an_avi_keep_the_picture_before(tmp_path):
    times = [time for index, time in enumerate(STEADY) if index % 7 != 3]
    path = write_timed(tmp_path / "clip.avi", times, Fraction(1, 25), "mpeg4", Fraction(1, 25))
    assert indices(path) == list(range(len(times)))
    assert [picture.pts * probe(path).time_base for picture in decode(path)] == times


def packed(source: Path, target: Path) -> Path:
    """An MPEG-4 AVI in which B-frames lie beside the picture that is shown after them, as DivX 5 wrote it."""
    with av.open(str(source)) as read:
        packets = [bytes(packet) for packet in read.demux(video=0) if packet.size]
    kinds = ["IPB"[packet[packet.index(b"\0\0\1\xb6") + 4] >> 6] for packet in packets]
    nothing = b"\0\0\1\xb6" + bytes([0b0101_0000, 0b0101_1111])  # a picture of which nothing is coded
    written: list[bytes] = []
    for packet, kind, before in zip(packets, kinds, [" ", *kinds], strict=False):
        if kind == "B" and before != "B":
            written[-1] += packet
            written.append(nothing)
        elif kind == "B":
            written.insert(-1, packet)
        else:
            written.append(packet)
    at = written[0].index(b"\0\0\1\xb3")
    written[0] = written[0][:at] + b"\0\0\1\xb2DivX503b1393p" + written[0][at:]
    with av.open(str(target), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number, content in enumerate(written):
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.duration = stream, Fraction(1, 25), 1
            packet.pts = packet.dts = number
            packet.is_keyframe = b"\0\0\1\xb3" in content
            container.mux(packet)
    return target


def test_packed_b_frames_come_in_their_order(tmp_path):
    source = write_timed(tmp_path / "source.avi", STEADY, Fraction(1, 25), "mpeg4", Fraction(1, 25), b_frames=2)
    path = packed(source, tmp_path / "clip.avi")
    assert indices(path) == list(range(100))


def test_pictures_whose_times_go_back_are_counted(tmp_path):
    for name, first in (("first.ts", 4), ("second.ts", 0)):
        write_timed(tmp_path / name, [time + first for time in STEADY[:50]], Fraction(1, 25))
    path = tmp_path / "clip.ts"
    path.write_bytes((tmp_path / "first.ts").read_bytes() + (tmp_path / "second.ts").read_bytes())
    losses = Losses()
    assert len(list(decode(path, None, losses))) + losses.without_time == 100
    assert losses.without_time >= 50


def test_a_clock_of_mpeg_that_begins_anew_is_no_step_back(tmp_path):
    """Times of 33 bits in units of 1/90000 s end after 26.5 hours."""
    begin = Fraction(2**33, 90000) - 2
    path = write_timed(
        tmp_path / "clip.ts", [begin + time for time in STEADY], Fraction(1, 25), time_base=Fraction(1, 90000), b_frames=2
    )
    losses = Losses()
    pictures = list(decode(path, None, losses))
    assert [read_index(picture.rgb) for picture in pictures] == list(range(100))
    assert losses == Losses()


# Display matrices.


@pytest.mark.parametrize("matrix", SHOWN_BY_MATRIX)
def test_pictures_are_turned_and_mirrored_as_chromium_shows_them(tmp_path, matrix):
    path = write_video(tmp_path / "plain.mp4", [corners_picture()] * 3)
    path = with_matrix(path, tmp_path / "clip.mp4", matrix)
    shown = next(decode(path))
    on_its_side = SHOWN_BY_MATRIX[matrix] in ("BRWG", "GWRB", "RBGW", "WGBR")
    assert corners_of(shown.rgb) == SHOWN_BY_MATRIX[matrix]
    assert shown.rgb.shape == ((160, 120, 3) if on_its_side else (120, 160, 3))
    assert shown.lies_on_its_side == on_its_side


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("hflip", "vflip"), [(False, False), (True, False), (False, True), (True, True)])
def test_matroska_turns_and_mirrors_too(tmp_path, degrees, hflip, vflip):
    """As an .mp4 with the same matrix, which FFmpeg writes into Matroska as a projection's pose."""
    shown = []
    for name in ("clip.mp4", "clip.mkv"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(corners_picture(), format="rgb24")))
            container.mux(stream.encode(None))
        shown.append(corners_of(next(decode(tmp_path / name)).rgb))
    assert shown[0] == shown[1] != "????"


@pytest.mark.parametrize(
    "matrix",
    [
        (65535, 0, 0, 0, 65536, 0, 0, 0, 1 << 30),
        (-65535, 0, 0, 0, -65535, 0, 0, 0, 1 << 30),
        (1, 65536, 0, -65536, 1, 0, 0, 0, 1 << 30),
        (-65536, 1, 0, 1, 65536, 0, 0, 0, 1 << 30),
        (-(1 << 31), 0, 0, 0, -(1 << 31), 0, 0, 0, 0),
    ],
)
def test_a_matrix_that_is_nearly_a_turn_is_none(matrix):
    assert orientation_of(matrix) == AS_IT_LIES


def test_what_h264_says_itself_of_its_orientation_counts_for_nothing(tmp_path, ffmpeg):
    """Chromium shows by the container alone."""
    plain = write_video(tmp_path / "plain.mp4", [corners_picture()] * 3)
    with_matrix(plain, tmp_path / "mirrored.mp4", (-1, 0, 0, 1))
    for name, shown in (("plain.mp4", "RGBW"), ("mirrored.mp4", "GRWB")):
        insert = "h264_metadata=display_orientation=insert:rotate=90"
        path = ffmpeg(f"ffmpeg -i {name} -c copy -bsf:v {insert} turned-{name}")
        with av.open(str(path)) as container:
            assert "DISPLAYMATRIX" in [data.type.name for data in next(container.decode(video=0)).side_data]
        assert corners_of(next(decode(path)).rgb) == shown


def test_thumbnails_are_mirrored_too(tmp_path):
    plain = write_video(tmp_path / "plain.mp4", [corners_picture()] * 3)
    for matrix, size in (((-1, 0, 0, 1), (106, 80)), ((0, 1, 1, 0), (60, 80))):
        path = with_matrix(plain, tmp_path / "clip.mp4", matrix)
        image = Image.open(io.BytesIO(picture_jpeg(path, 0.0, 80)))
        assert abs(image.width - size[0]) <= 1
        assert corners_of(np.asarray(image)) == SHOWN_BY_MATRIX[matrix]
