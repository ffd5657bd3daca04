"""Files that say what they are not: each is refused by name or read for what it is, opens nothing else, and stays small."""

import resource
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from framewise.core.errors import MediaError
from framewise.features.extraction import Timeline
from framewise.media.video import decode, probe
from tests.videos import colour_pictures, write_sound, write_video

REFUSED = "not a video that can be read"


def write(path, pictures, codec, pixel_format="yuv420p", first=0):
    """A file of RGB pictures in any container, at 25 pictures per second; ``first`` is the number of the first."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.thread_count = pixel_format, 1
        for number, picture in enumerate(pictures, first):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def patched(path, *changes):
    """Overwrites 32-bit numbers of a file, each so many bytes after the name of a box."""
    content = bytearray(path.read_bytes())
    for box, distance, value in changes:
        struct.pack_into(">I", content, content.index(box) + distance, value)
    path.write_bytes(content)
    return path


def refused(path, message):
    for read in (probe, lambda p: list(decode(p))):
        with pytest.raises(MediaError, match=rf"^{path.name}: .*{message}"):
            read(path)


# What is no video.


def test_a_file_with_nothing_but_a_header_is_refused(tmp_path):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(30))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 4])
    with pytest.raises(MediaError, match=r"^clip\.mp4: "):
        list(decode(path))


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt", "notes.mkv"])
def test_a_text_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("These are notes.\n" * 200)
    refused(path, REFUSED)


def test_an_archive_is_refused(tmp_path):
    path = write_video(tmp_path / "inside.mp4", colour_pictures(5))
    with zipfile.ZipFile(tmp_path / "clip.mp4", "w") as archive:
        archive.write(path, "clip.mp4")
    refused(tmp_path / "clip.mp4", REFUSED)


@pytest.mark.parametrize("suffix", ["png", "mp4", "%d.png", "gif"])
def test_a_picture_is_refused(tmp_path, suffix):
    from PIL import Image

    picture = Image.fromarray(colour_pictures(1)[0])
    path = tmp_path / f"clip.{suffix}"
    picture.save(path, format="gif" if suffix == "gif" else "png")
    picture.save(tmp_path / "clip.1.png")
    refused(path, REFUSED)


def test_sound_with_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 96, 64, "yuvj420p", Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(colour_pictures(1)[0], format="rgb24")))
        for start in range(0, 44100, 1152):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    refused(path, "expected a video stream, found a cover picture, audio")


# Playlists: files that name other files.


@pytest.fixture
def listener():
    """A port of this machine; ``connections`` tells whether somebody came."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def playlists(secret, port):
    """Playlists that FFmpeg reads, each of which names a file or an address of this machine."""
    url = f"http://127.0.0.1:{port}/clip.ts"
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"
    mpd = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation '
        'id="1" bandwidth="1" width="96" height="64"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )
    return {
        "hls-file": hls.format(secret),
        "hls-url": hls.format(url),
        "concat-file": f"ffconcat version 1.0\nfile {secret.name}\n",
        "concat-url": f"ffconcat version 1.0\nfile '{url}'\n",
        "dash-file": mpd.format(secret),
        "dash-url": mpd.format(url),
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "rtsp": f"rtsptext\nrtsp://127.0.0.1:{port}/clip",
    }


@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "ffconcat", "mpd", "sdp"])
@pytest.mark.parametrize("kind", ["hls-file", "hls-url", "concat-file", "concat-url", "dash-file", "dash-url", "sdp", "rtsp"])
def test_a_playlist_is_refused_and_opens_nothing(tmp_path, listener, kind, suffix):
    secret = write_video(tmp_path / "secret.mp4", colour_pictures(5))
    path = tmp_path / f"clip.{suffix}"
    path.write_text(playlists(secret, listener.getsockname()[1])[kind])
    refused(path, REFUSED)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_without_the_list_of_containers_a_playlist_would_be_read(tmp_path):
    """Proof that the tests above can tell: FFmpeg itself does open the other file, whatever the playlist's name."""
    secret = write_video(tmp_path / "secret.mp4", colour_pictures(5))
    path = tmp_path / "clip.mp4"
    path.write_text(playlists(secret, 9)["concat-file"])
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/clip.mp4", "tcp://127.0.0.1:{port}", "concat:{secret}|{secret}"])
def test_a_path_that_is_an_address_to_ffmpeg_is_not_followed(tmp_path, listener, address):
    secret = write_video(tmp_path / "secret.mp4", colour_pictures(5))
    path = Path(address.format(port=listener.getsockname()[1], secret=secret))
    with pytest.raises(MediaError, match=REFUSED):
        list(decode(path))
    with pytest.raises(TimeoutError):
        listener.accept()


# Headers that lie about sizes, numbers and times.


def test_a_file_of_a_few_kilobytes_that_declares_millions_of_samples_costs_nothing(tmp_path):
    samples = 80_000_000
    path = write_video(tmp_path / "clip.mp4", colour_pictures(10))
    patched(path, (b"stts", 12, samples), (b"stsz", 8, 1), (b"stsz", 12, samples), (b"stsc", 16, samples))
    before = peak_megabytes()
    refused(path, f"its header declares {samples} samples in a file of {path.stat().st_size} bytes")
    assert peak_megabytes() - before < 50


def test_a_fragment_that_declares_millions_of_samples_costs_nothing(tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for picture in colour_pictures(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert len(list(decode(path))) == 10
    patched(path, (b"trun", 8, 80_000_000))
    before = peak_megabytes()
    refused(path, "its header declares 80000000 samples")
    assert peak_megabytes() - before < 50


def test_an_mp4_behind_another_beginning_is_not_read_as_one(tmp_path):
    """FFmpeg would pass over the box that it does not know, and then build the index."""
    path = write_video(tmp_path / "clip.mp4", colour_pictures(10))
    patched(path, (b"stts", 12, 80_000_000), (b"stsz", 8, 1), (b"stsz", 12, 80_000_000), (b"stsc", 16, 80_000_000))
    path.write_bytes(struct.pack(">I4s", 8, b"\x01abc") + path.read_bytes())
    before = peak_megabytes()
    refused(path, REFUSED)
    assert peak_megabytes() - before < 50


@pytest.mark.parametrize("tag", [b"9999999999:00:00.0", b"99:99:99.999999999", b"-1:00:00.000000000", b"x" * 18])
def test_a_duration_that_is_none_in_a_tag_of_matroska_is_no_defect(tmp_path, tag):
    path = write(tmp_path / "clip.mkv", colour_pictures(10), "libx264")
    content = path.read_bytes()
    assert content.count(b"00:00:00.400000000") == 1
    path.write_bytes(content.replace(b"00:00:00.400000000", tag))
    try:
        assert len(list(decode(path))) == 10
    except MediaError as error:
        assert "truncated or damaged" in str(error)  # noqa: PT017


def test_a_million_declared_pictures_are_the_ten_that_are_there(tmp_path):
    path = patched(write_video(tmp_path / "clip.mp4", colour_pictures(10)), (b"stts", 12, 1_000_000))
    assert len(list(decode(path))) == 10


@pytest.mark.parametrize("box", [b"mvhd", b"mdhd", b"tkhd"])
def test_a_duration_of_years_in_one_place_of_the_header_gives_no_timeline_of_years(tmp_path, box):
    path = patched(write_video(tmp_path / "clip.mp4", colour_pictures(10)), (box, 24 if box == b"tkhd" else 20, 2**31))
    info = probe(path)
    assert len(list(decode(path))) == 10
    assert Timeline(np.arange(10), info.time_base, info.duration_seconds).num_frames(25.0) == 10


def test_pictures_that_are_years_apart_are_refused_before_a_row_is_made(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for seconds, picture in zip((0, 10**6), colour_pictures(2), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = seconds * 25, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    pts = np.array([picture.pts for picture in decode(path)])
    info = probe(path)
    assert len(pts) == 2
    assert info.duration_seconds >= 10**6
    with pytest.raises(
        MediaError, match="a video of 1000000 s at frameRate 25 would have more than 1000000 frames; is the file"
    ):
        Timeline(pts, info.time_base, info.duration_seconds).rows(25.0)


@pytest.mark.parametrize(("duration", "frame_rate"), [(1e9, 25.0), (10.0, 1e308), (1e300, 1e300), (1.0, 1e12)])
def test_a_timeline_without_bounds_is_refused_before_a_row_is_made(duration, frame_rate):
    with pytest.raises(MediaError, match="would have more than 1000000 frames"):
        Timeline(np.arange(10), Fraction(1, 25), duration).rows(frame_rate)


@pytest.mark.parametrize("size", [(16384, 2), (2, 1000)])
def test_pictures_that_are_a_line_are_refused(tmp_path, size):
    path = write(tmp_path / "clip.mov", [np.zeros((size[1], size[0], 3), np.uint8)], "png", "rgb24")
    refused(path, f"pictures of {size[0]}x{size[1]}; expected .* a side at most 64 times the other")


@pytest.mark.parametrize("side", [65_535, 16_000, 9_000])
def test_a_header_that_claims_huge_pictures_is_refused_before_they_are_made(tmp_path, side):
    path = write(tmp_path / "clip.mov", colour_pictures(3), "qtrle", "rgb24")
    patched(
        path, (b"rle ", 28, side << 16 | side)
    )  # width and height: 16 bits each, in QuickTime's description of the pictures
    before = peak_megabytes()
    with pytest.raises(
        MediaError, match=rf"^clip\.mov: (pictures of {side}x{side}; expected|not one picture .* 67 million pixels)"
    ):
        list(decode(path))
    assert peak_megabytes() - before < 100


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


MEASURE_8K = """
    import resource, sys
    from pathlib import Path
    from framewise.media.video import decode
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shapes = {picture.rgb.shape for picture in decode(Path(sys.argv[1]))}
    assert shapes == {(4320, 7680, 3)}, shapes
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_8k_pictures_are_decoded_in_bounded_memory(tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 7680, 4320, "yuv420p", 1
        stream.options = {"preset": "ultrafast", "crf": "40"}
        for number, picture in enumerate(colour_pictures(12, (480, 270))):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(7680, 4320, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    command = [sys.executable, "-c", textwrap.dedent(MEASURE_8K), str(path)]
    measured = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[2], check=True)
    # 12 pictures as RGB alone would be 1200 MB
    assert int(measured.stdout) < 1000


# Pictures and times that are unusual, and honest.


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1)])
def test_the_smallest_pictures_are_read(tmp_path, size):
    path = write(tmp_path / "clip.mov", [np.full((size[1], size[0], 3), 90, np.uint8)] * 3, "png", "rgb24")
    pictures = list(decode(path))
    assert [picture.rgb.shape for picture in pictures] == [(size[1], size[0], 3)] * 3
    assert all((picture.rgb == 90).all() for picture in pictures)


def test_a_single_picture_is_a_video_of_one_frame(tmp_path):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(1))
    (picture,) = decode(path)
    info = probe(path)
    assert Timeline(np.array([picture.pts]), info.time_base, info.duration_seconds).num_frames(25.0) == 1


def test_an_index_at_the_end_of_the_file_is_read(tmp_path):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(10), fast_start=False)
    content = path.read_bytes()
    assert content.index(b"moov") > content.index(b"mdat")
    assert len(list(decode(path))) == 10


def test_a_codec_that_is_not_there_is_named_as_the_reason(tmp_path):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(5))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"avc1", b"zzzz"))
    refused(path, "its pictures are in a codec that FFmpeg does not know; convert it to H.264")


def test_pictures_may_change_their_size(tmp_path):
    first = write(tmp_path / "first.ts", colour_pictures(5, (96, 64)), "libx264")
    second = write(tmp_path / "second.ts", colour_pictures(5, (64, 128)), "libx264", first=20)
    path = tmp_path / "clip.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert [picture.rgb.shape for picture in decode(path)] == [(64, 96, 3)] * 5 + [(128, 64, 3)] * 5


def test_times_that_go_back_leave_pictures_out_and_never_turn_the_timeline(tmp_path):
    first = write(tmp_path / "first.ts", colour_pictures(5), "libx264", first=50)
    second = write(tmp_path / "second.ts", colour_pictures(5, seed=1), "libx264")
    path = tmp_path / "clip.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    times = [picture.pts for picture in decode(path)]
    assert len(times) >= 5
    assert times == sorted(set(times))


def test_pictures_without_times_of_their_own_come_one_after_the_other(tmp_path):
    """AVI keeps none: they follow from the frame rate."""
    path = write(tmp_path / "clip.avi", colour_pictures(10), "mpeg4")
    time_base = probe(path).time_base
    assert [picture.pts * time_base for picture in decode(path)] == [Fraction(number, 25) for number in range(10)]


@pytest.mark.parametrize(("turn", "shape"), [(45, (64, 96, 3)), (1, (64, 96, 3)), (-90, (96, 64, 3)), (360, (64, 96, 3))])
def test_an_odd_rotation_is_taken_for_the_nearest_quarter_turn(tmp_path, turn, shape):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(2), rotation=turn)
    assert {picture.rgb.shape for picture in decode(path)} == {shape}


@pytest.mark.parametrize(
    ("container", "codec", "pixel_format"),
    [
        ("mkv", "libx264", "gray"),
        ("mkv", "ffv1", "gray16le"),
        ("mov", "libx264", "yuv420p10le"),
        ("mkv", "ffv1", "gbrp12le"),
        ("mkv", "ffv1", "yuva420p"),
        ("webm", "libvpx-vp9", "yuva420p"),
        ("mov", "qtrle", "argb"),
        ("mov", "png", "rgba"),
    ],
)
def test_pictures_with_alpha_without_colour_or_of_more_bits_are_read(tmp_path, container, codec, pixel_format):
    written = colour_pictures(3)
    path = write(tmp_path / f"clip.{container}", written, codec, pixel_format)
    pictures = list(decode(path))
    assert len(pictures) == 3
    for picture, original in zip(pictures, written, strict=True):
        expected = original.astype(float)
        if pixel_format.startswith("gray"):
            expected = np.repeat((expected @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
        # the middles of the blocks: colour has half the resolution, and grey is written without a word on its range
        assert np.abs(picture.rgb[10::21, 12::24] - expected[10::21, 12::24]).max() <= (20 if "gray" in pixel_format else 12)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("clip.mkv", "libx264"), ("clip.webm", "libvpx-vp9"), ("clip.avi", "mpeg4"), ("clip.ts", "libx264"),
     ("clip.flv", "libx264"),
     ("clip.mpg", "mpeg2video"), ("clip.wmv", "msmpeg4"), ("clip.mov", "mjpeg"), ("clip.3gp", "h263")],
)  # fmt: skip
def test_every_container_that_people_have_is_still_read(tmp_path, name, codec):
    size = (176, 144) if codec == "h263" else (96, 64)
    path = write(tmp_path / name, colour_pictures(12, size), codec, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    assert len(list(decode(path))) == 12


def test_sound_alone_is_still_called_sound_in_every_container(tmp_path):
    path = write_sound(tmp_path / "sound.mp4")
    refused(path, "expected a video stream, found audio")
    shutil.copy(path, tmp_path / "sound.mkv")
    refused(tmp_path / "sound.mkv", "expected a video stream, found audio")
