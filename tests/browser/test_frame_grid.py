"""The frame grid in front of a person's eyes: a real Chromium with a real Label Studio against our own rows.

Every clip's pictures carry their own index. What is compared is what the product computes: the `Timeline` that the extraction
makes of a file's header and of the times of its decoded pictures.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from framewise.core.frame_grid import parse_frame_rate, seek_times
from framewise.demo.label_studio_server import LabelStudioServer
from framewise.features.extraction import Timeline
from framewise.media.video import decode, probe
from tests.browser.driver import Editor
from tests.browser.files import encode_again, remux
from tests.index_clips import make_index_clip, read_index
from tests.label_studio.api import AnnotatorApi
from tests.videos import write_timed

FILE_RATES = ("15", "24000/1001", "25", "30000/1001", "30", "50", "60000/1001")
CONFIG_RATES = ("24", "25", "29.97", "30")
CLIP_SECONDS = 121
SIZE, SMALL_SIZE = (160, 120), (96, 72)  # the small one where there are many thousand pictures
CONFIG = """<View>
  <TimelineLabels name="timeline" toName="video"><Label value="Walk"/></TimelineLabels>
  <Video name="video" value="$video" {attribute}/>
</View>"""
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL_FILES = (
    "timing/delayed_start.mp4",
    "timing/goldeneye-vfr-drop3.mp4",
    "timing/issue-134-rotate.mp4",
    "real/opossum_snow.mp4",
    "sync/gopro_karma.mp4",
    *(f"sync/four_cameras/cam0{number}.mp4" for number in (1, 2, 3, 4)),
)

# Of pictures of cameras every fourth pixel of every fourth line is looked at. Two are told apart by at least so many of those
# that differ by more than so much, 0 .. 255.
THIN, ENOUGH, CLEARLY = 4, 20, 12

Open = Callable[..., None]


@dataclass(frozen=True)
class Clip:
    """A file, its timeline as the product has it, the index that each decoded picture carries, and its key frames.

    keys: (decoding time, presentation time) of each, in units of the stream's time base.
    """

    path: Path
    timeline: Timeline
    indices: npt.NDArray[np.int64]
    keys: list[tuple[int, int]]

    def expected(self, frames: Sequence[int], frame_rate: float) -> list[int]:
        """Index of the picture that the row of each frame is made of."""
        return self.indices[self.timeline.rows(frame_rate)[np.array(frames) - 1]].tolist()


def read_clip(path: Path, index_of: Callable[[np.ndarray], int] = read_index) -> Clip:
    pictures = [(picture.pts, index_of(picture.rgb)) for picture in decode(path)]
    timeline = Timeline.of(probe(path), [pts for pts, _ in pictures])
    with av.open(str(path)) as container:
        keys = [(p.dts, p.pts) for p in container.demux(video=0) if p.is_keyframe and p.dts is not None and p.pts is not None]
    return Clip(path, timeline, np.array([index for _, index in pictures]), keys)


@pytest.fixture(scope="session")
def folder(label_studio: LabelStudioServer, api: AnnotatorApi) -> Path:
    """A folder that Label Studio serves as local files: it lets nobody upload .mkv, but plays it from a storage."""
    folder = label_studio.document_root / "frame-grid"
    folder.mkdir()
    project = api.create_project("frame grid: files", CONFIG.format(attribute=""))["id"]
    api.request("POST", "/api/storages/localfiles/", json={"project": project, "path": str(folder), "use_blob_urls": True})
    return folder


@pytest.fixture(scope="session")
def clips(folder: Path) -> dict[str, Clip]:
    """A clip of two minutes for each file rate."""
    paths = {rate: folder / f"{rate.replace('/', '-')}.mp4" for rate in FILE_RATES}
    for rate, path in paths.items():
        make_index_clip(path, int(CLIP_SECONDS * Fraction(rate)), Fraction(rate), SMALL_SIZE)
    return {rate: read_clip(path) for rate, path in paths.items()}


@pytest.fixture(scope="session")
def open_clip(editor: Editor, api: AnnotatorApi, folder: Path) -> Open:
    """Opens a file of the folder in the editor, in the one project with this attribute of the <Video> tag."""
    projects: dict[str, int] = {}

    def open_clip(path: Path, attribute: str, data: Mapping[str, object] | None = None) -> None:
        if attribute not in projects:
            projects[attribute] = api.create_project(f"frame grid: {attribute}", CONFIG.format(attribute=attribute))["id"]
        url = f"/data/local-files/?d={path.relative_to(folder.parent)}"
        task = api.import_tasks(projects[attribute], [{"video": url, **(data or {})}])[0]
        editor.show_task(projects[attribute], task["id"])

    return open_clip


def microseconds(pts: Sequence[int] | npt.NDArray[np.int64], time_base: Fraction) -> npt.NDArray[np.float64]:
    """Pictures' times, to the nearest microsecond."""
    return np.array([round(int(number) * time_base * 10**6) for number in pts], dtype=np.float64)


def seek_microseconds(timeline: Timeline, frame_rate: float) -> npt.NDArray[np.float64]:
    """The times to which the editor seeks for frames 1 .. num_frames."""
    return seek_times(np.arange(1, timeline.num_frames(frame_rate) + 1), frame_rate) * 1e6


def frames_at_an_edge(clip: Clip, frame_rate: float) -> list[int]:
    """Frames whose seek is no more than 2 microseconds from a picture's time: there the arithmetic's last digit decides."""
    times = microseconds(clip.timeline.pts, clip.timeline.time_base)
    sought = seek_microseconds(clip.timeline, frame_rate)
    after = np.searchsorted(times, sought).clip(1, len(times) - 1)
    distance = np.minimum(np.abs(times[after] - sought), np.abs(times[after - 1] - sought))
    return (np.flatnonzero(distance <= 2) + 1).tolist()


def frames_short_of_a_key_frame(clip: Clip, frame_rate: float) -> list[int]:
    """Frames whose seek, cut to microseconds, is the last one before a key frame's time.

    Chromium shows that key frame: FFmpeg is asked to go to the time in units of the stream's time base, to the nearest, that
    is the key frame's, and nothing before it is decoded. Our rows, which know no key frames, say the picture before it.
    """
    starts = microseconds([pts for _, pts in clip.keys], clip.timeline.time_base)
    return (np.flatnonzero(np.isin(np.trunc(seek_microseconds(clip.timeline, frame_rate)) + 1, starts)) + 1).tolist()


def frames_to_look_at(clip: Clip, frame_rate: float) -> list[int]:
    """About 45 frames: the first, the last, where others go wrong, and some by chance; no two neighbours show the same."""
    rng = random.Random(f"{clip.path.name} {frame_rate}")
    timeline = clip.timeline
    rows = timeline.rows(frame_rate)
    length = len(rows)
    # the way of those who take the file's rate for constant, and a frame's number for its time
    rate = (len(timeline.pts) - 1) / float(int(timeline.pts[-1] - timeline.pts[0]) * timeline.time_base)
    wrong = (np.flatnonzero(np.floor(np.arange(length) / frame_rate * rate + 1e-9) != rows) + 1).tolist()
    edge = frames_at_an_edge(clip, frame_rate)
    frames = {*range(1, 6), *range(929, 934), *range(length - 11, length + 1), *wrong[:3]}
    frames |= {*rng.sample(wrong, min(5, len(wrong))), *rng.sample(edge, min(9, len(edge))), *rng.sample(range(1, length), 8)}
    frames -= {*frames_short_of_a_key_frame(clip, frame_rate)}
    return in_mixed_order([frame for frame in frames if 1 <= frame <= length])


def in_mixed_order(frames: Sequence[int]) -> list[int]:
    """The frames so that none shows the picture of the one before, if not half of all show the same; the first is a late one.

    Then a picture that was not renewed is a wrong one, and every seek goes far, forth or back.
    """
    ordered, half = sorted(frames), len(frames) // 2
    pairs = itertools.zip_longest(ordered[half:], ordered[:half])
    return [frame for pair in pairs for frame in pair if frame is not None]


def shown(editor: Editor, frames: Sequence[int]) -> list[int]:
    """Index of the picture on screen at each frame."""
    return [read_index(picture) for picture in editor.pictures(frames)]


def check(editor: Editor, clip: Clip, frame_rate: float) -> None:
    """Length and pictures are those of our rows."""
    frames = frames_to_look_at(clip, frame_rate)
    differences = [
        f"frame {frame} shows picture {seen}, expected {expected}"
        for frame, seen, expected in zip(frames, shown(editor, frames), clip.expected(frames, frame_rate), strict=True)
        if seen != expected
    ]
    assert not differences
    assert editor.num_frames == clip.timeline.num_frames(frame_rate)
    assert editor.duration_seconds == pytest.approx(clip.timeline.duration_seconds, abs=1e-6)


@pytest.mark.parametrize("file_rate", FILE_RATES)
@pytest.mark.parametrize("config_rate", CONFIG_RATES)
def test_frame_n_shows_the_picture_that_its_row_is_made_of(
    editor: Editor, open_clip: Open, clips: dict[str, Clip], file_rate: str, config_rate: str
) -> None:
    open_clip(clips[file_rate].path, f'frameRate="{config_rate}"')
    assert editor.frame_rate == float(config_rate)
    check(editor, clips[file_rate], float(config_rate))


@pytest.mark.parametrize(("file_rate", "config_rate"), [("24000/1001", "24"), ("60000/1001", "30")])
def test_a_seek_a_microsecond_short_of_a_key_frame_shows_the_key_frame(
    editor: Editor, open_clip: Open, clips: dict[str, Clip], file_rate: str, config_rate: str
) -> None:
    """The known difference between our rows and Chromium: one picture, in about one of 7000 frames of the clips here."""
    clip, frame_rate = clips[file_rate], float(config_rate)
    frames = frames_short_of_a_key_frame(clip, frame_rate)
    assert 1 <= len(frames) <= 3
    open_clip(clip.path, f'frameRate="{config_rate}"')
    assert shown(editor, frames) == [index + 1 for index in clip.expected(frames, frame_rate)]


def test_what_is_read_from_the_screen_is_no_picture_of_before(editor: Editor, open_clip: Open, clips: dict[str, Clip]) -> None:
    """Pictures read in one go, as above, are those that stand there after a pause, and those on the editor's canvas."""
    clip = clips["50"]
    open_clip(clip.path, 'frameRate="25"')
    frames = frames_to_look_at(clip, 25.0)[:20]
    at_once = shown(editor, frames)
    assert len(set(at_once)) == len(frames)
    for frame, index in zip(frames, at_once, strict=True):
        editor.seek(frame)
        for _ in range(50):  # on a busy machine the canvas may be drawn a little after the picture is there
            editor.page.wait_for_timeout(100)
            if read_index(editor.canvas_picture()) == index:
                break
        assert (read_index(editor.picture()), read_index(editor.canvas_picture())) == (index, index)


@pytest.mark.parametrize(
    ("attribute", "data", "frame_rate"),
    [
        ('frameRate="$fps"', {"fps": "29.97"}, 29.97),
        ('frameRate="$fps"', {"fps": 25}, 25.0),
        ('framerate="30"', {}, 30.0),
        ('frameRate="0.04"', {}, 25.0),
        ("", {}, 24.0),
    ],
)
def test_the_frame_rate_is_read_as_the_editor_reads_it(
    editor: Editor, open_clip: Open, clips: dict[str, Clip], attribute: str, data: dict[str, object], frame_rate: float
) -> None:
    open_clip(clips["30000/1001"].path, attribute, data)
    assert editor.frame_rate == frame_rate
    text = str(data["fps"]) if data else attribute.partition("=")[2].strip('"') or None
    assert parse_frame_rate(text) == frame_rate
    check(editor, clips["30000/1001"], frame_rate)


def test_a_variable_rate(editor: Editor, open_clip: Open, folder: Path) -> None:
    rng = random.Random(5)
    steps = [Fraction(rng.choice((17, 20, 33, 40, 50, 90, 210)), 1000) for _ in range(399)]
    times = list(itertools.accumulate(steps, initial=Fraction(0)))
    clip = read_clip(make_index_clip(folder / "variable.mp4", 400, 25, SIZE, presentation_times=times))
    for config_rate in ("25", "29.97"):
        open_clip(clip.path, f'frameRate="{config_rate}"')
        check(editor, clip, float(config_rate))


def test_pictures_that_start_after_the_sound(editor: Editor, open_clip: Open, folder: Path) -> None:
    """Until they start, the first one is shown."""
    path = make_index_clip(folder / "late.mp4", 250, 25, SIZE, start_offset=Fraction(3, 2), audio_seconds=Fraction(23, 2))
    clip = read_clip(path)
    open_clip(path, 'frameRate="25"')
    check(editor, clip, 25.0)
    # the second picture is at 1.54 s, frames 39 and 40 seek to 1.522 and 1.562 s
    assert clip.expected([1, 38, 39, 40], 25.0) == [0, 0, 0, 1]


def test_pictures_that_start_late_and_alone(editor: Editor, open_clip: Open, folder: Path) -> None:
    """The browser's duration is that of the header at first, and grows when it has read the pictures past it. Which of both the
    editor takes for its length is a race; we take the later. It shows the first picture for every frame before it."""
    clip = read_clip(make_index_clip(folder / "late-alone.mp4", 250, 25, SIZE, start_offset=1))
    open_clip(clip.path, 'frameRate="25"')
    assert clip.timeline.num_frames(25.0) == 274
    assert editor.num_frames in (250, 274)
    frames = in_mixed_order([2, 20, *range(26, 36), 100, 150, 200, *range(240, 251)])
    assert shown(editor, frames) == clip.expected(frames, 25.0)


def test_turned_pictures_are_looked_at_the_way_they_are_shown(editor: Editor, open_clip: Open, folder: Path) -> None:
    upright = make_index_clip(folder / "upright.mp4", 250, 25, SIZE)
    path = remux(upright, folder / "turned.mp4", rotation=90)
    clip = read_clip(path, lambda rgb: read_index(np.rot90(rgb, -1)))
    assert clip.indices.tolist() == list(range(250))
    open_clip(path, 'frameRate="24"')
    assert editor.num_frames == clip.timeline.num_frames(24.0)
    frames = frames_to_look_at(clip, 24.0)
    seen = editor.pictures(frames)
    assert {picture.shape for picture in seen} == {(160, 120, 3)}
    assert [read_index(np.rot90(picture, -1)) for picture in seen] == clip.expected(frames, 24.0)


@pytest.fixture(scope="session")
def with_sound(folder: Path) -> Path:
    """20 s of pictures with B-frames, 23 s of sound."""
    return make_index_clip(folder / "with-sound.mp4", 500, 25, SIZE, audio_seconds=23)


KINDS: dict[str, Callable[[Path, Path], Path]] = {
    "longer sound": lambda source, folder: source,
    "edit list": lambda source, folder: remux(source, folder / "edit-list.mp4", start=Fraction(13, 10)),
    "Matroska": lambda source, folder: remux(source, folder / "copy.mkv"),
    "WebM, VP8": lambda source, folder: encode_again(source, folder / "vp8.webm", "libvpx"),
    "WebM, VP9": lambda source, folder: encode_again(source, folder / "vp9.webm", "libvpx-vp9"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_duration_and_pictures_of_other_files(
    editor: Editor, open_clip: Open, folder: Path, with_sound: Path, kind: str
) -> None:
    clip = read_clip(KINDS[kind](with_sound, folder))
    for config_rate in ("25", "29.97"):
        open_clip(clip.path, f'frameRate="{config_rate}"')
        check(editor, clip, float(config_rate))


LAPSE = [Fraction(2 * index) for index in range(10)]
SCREEN = [Fraction(index, 10) for index in range(100)]
LONG = {
    "time-lapse.mp4": (LAPSE, 2, "libx264", {}),
    "time-lapse.mkv": (LAPSE, 2, "libx264", {}),
    "time-lapse.webm": (LAPSE, 2, "libvpx", {}),
    "time-lapse-fragments.mp4": (LAPSE, 2, "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "screen.mp4": (SCREEN, 6, "libx264", {}),
    "screen.webm": (SCREEN, 6, "libvpx-vp9", {}),
}


@pytest.mark.parametrize("name", LONG)
def test_a_last_picture_that_stays(editor: Editor, open_clip: Open, folder: Path, name: str) -> None:
    times, last, codec, options = LONG[name]
    clip = read_clip(write_timed(folder / name, times, last, codec, **options))
    open_clip(clip.path, 'frameRate="25"')
    length = clip.timeline.num_frames(25.0)
    assert editor.num_frames == length == {LAPSE[1]: 500, SCREEN[1]: 398}[times[1]]
    assert editor.duration_seconds == pytest.approx(clip.timeline.duration_seconds, abs=1e-6)
    frames = [length - 1, 20, length // 2, 240, length, 1]
    assert [read_index(editor.picture(frame)) for frame in frames] == clip.expected(frames, 25.0)


def test_a_fragmented_file_shows_a_key_frame_early(editor: Editor, open_clip: Open, folder: Path, with_sound: Path) -> None:
    """In fragmented files FFmpeg looks for a key frame by decoding times, which with B-frames are those of pictures before it:
    a seek between a key frame's decoding and its presentation shows it too early. Our rows do not follow; any other frame is
    as ever."""
    clip = read_clip(remux(with_sound, folder / "fragmented.mp4", movflags="frag_keyframe+empty_moov"))
    open_clip(clip.path, 'frameRate="25"')
    assert editor.num_frames == clip.timeline.num_frames(25.0)
    assert editor.duration_seconds == pytest.approx(clip.timeline.duration_seconds, abs=1e-6)
    sought = seek_microseconds(clip.timeline, 25.0)
    early = np.zeros(len(sought), dtype=bool)
    for decoded, presented in clip.keys:
        start, stop = microseconds([decoded, presented], clip.timeline.time_base)
        early |= (start <= sought) & (sought < stop)
    assert early.mean() < 0.1
    rng = random.Random(3)
    frames = in_mixed_order(rng.sample((np.flatnonzero(~early) + 1).tolist(), 30))
    assert shown(editor, frames) == clip.expected(frames, 25.0)
    frames = in_mixed_order(rng.sample((np.flatnonzero(early) + 1).tolist(), 10))
    ahead = np.array(shown(editor, frames)) - clip.expected(frames, 25.0)
    assert set(ahead.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("name", REAL_FILES)
def test_files_of_others(editor: Editor, open_clip: Open, folder: Path, name: str) -> None:
    """Files that no test made. Pictures are compared where they differ clearly from their neighbours."""
    if not (DATA / name).exists():
        pytest.skip(f"no {DATA / name}: a file to measure with that is not part of the project")
    info = probe(DATA / name)
    if info.codec == "mpeg4":
        pytest.skip("MPEG-4 Part 2, which no browser plays")
    path = folder / name.replace("/", "-")
    path.write_bytes((DATA / name).read_bytes())
    pictures = list(decode_small(path))
    timeline = Timeline.of(info, [pts for pts, _ in pictures])
    open_clip(path, 'frameRate="25"')
    assert editor.num_frames == timeline.num_frames(25.0)
    assert editor.duration_seconds == pytest.approx(timeline.duration_seconds, abs=1e-6)
    rows, rng = timeline.rows(25.0), random.Random(name)
    frames = in_mixed_order(sorted({1, 2, len(rows) - 1, len(rows), *rng.sample(range(1, len(rows)), 7)}))
    told = 0
    for frame, picture in zip(frames, editor.pictures(frames, THIN), strict=True):
        seen, row = grey(picture), int(rows[frame - 1])
        for other in {row - 1, row + 1} & set(range(len(pictures))):
            right, wrong = pictures[row][1], pictures[other][1]
            where = np.abs(right - wrong) > CLEARLY
            if np.count_nonzero(where) >= ENOUGH:
                told += 1
                assert np.abs(seen - right)[where].mean() < np.abs(seen - wrong)[where].mean(), (
                    f"frame {frame} is not row {row}"
                )
    assert told >= 5


def decode_small(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Time and grey values of each picture, few enough for a whole file in memory."""
    return ((picture.pts, grey(picture.rgb[::THIN, ::THIN])) for picture in decode(path))


def grey(rgb: np.ndarray) -> np.ndarray:
    return rgb.mean(axis=2, dtype=np.float32)
