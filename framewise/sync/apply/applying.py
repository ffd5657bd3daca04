"""Application of offsets to media: every recording is padded or trimmed to the same length and the same frames.

Heads are whole frames of a common rate. Sound is moved by exactly these frames, in samples, so that it stays with its picture.
The rounding residual is reported. Recordings are never modified; results appear under their final names once all are complete.
"""

import contextlib
import itertools
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from framewise.core.errors import FramewiseError, MediaError, RequestError, SettingsError, StorageFull, brief
from framewise.core.frame_grid import MAX_FRAMES
from framewise.core.progress import Progress, ShareProgress, named, part_of, silent
from framewise.core.storage import folder_written_atomically, full_disk_explained, write_readable_json, written_atomically
from framewise.media.video import may_say_orientation_itself, shown_orientation
from framewise.sync import ffmpeg
from framewise.sync.apply import MODES
from framewise.sync.apply.timeline import Head, Plan, Span, plan, samples_of
from framewise.sync.manifest import Manifest, Recording, unique_names, write
from framewise.sync.sources import RecordedFile, probe, read_source

MANIFEST, SYNCED_MANIFEST, REPORT, ARCHIVE = "sync.json", "synced.json", "applied.json", "synced_videos.zip"

# Visually lossless, and played by every browser. Sound in Matroska is FLAC: AAC's encoder delay would move it there.
X264 = ("-c:v", "libx264", "-preset", "medium", "-crf", "18", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-b:a", "192k")
FLAC = ("-c:a", "flac")
WITH_PICTURES = {".mp4": AAC, ".m4v": AAC, ".mov": AAC, ".mkv": FLAC}
SOUND_ALONE = {".wav": ("-c:a", "pcm_s16le"), ".flac": FLAC}
OTHERWISE = (".mp4", ".flac")  # for pictures, for sound alone: used if the file's own format cannot be exact
FAST_START = ("-movflags", "+faststart")
# Leaves out data, subtitles and chapters, whose times would be wrong.
STRIPPED = ("-dn", "-sn", "-map_chapters", "-1")
DRIFT_RATES = (192_000, 384_000)  # range of whole rates to choose from: higher is slower, lower less exact
MAX_SECONDS = 48 * 3600
SOUND_SLACK_SECONDS = 0.01
COPIED, ENCODED = "copied", "encoded"


@dataclass(frozen=True)
class ApplyOptions:
    """output: a new or empty folder. frame_rate: of all outputs, the reference's if None. archive: also write a ZIP."""

    output: Path
    mode: str = "union"
    correct_drift: bool = False
    archive: bool = False
    manifest_only: bool = False
    frame_rate: Fraction | None = None


@dataclass(frozen=True)
class Output:
    """One written recording. path: None without media. head: applied shift. how: copied or encoded, with
    ``settings``. drift_ppm: corrected drift."""

    recording: str
    path: Path | None
    head: Head
    samples: int | None
    how: str
    settings: tuple[str, ...]
    drift_ppm: float


@dataclass(frozen=True)
class Applied:
    """Everything that was written. frames: of every output with pictures. left_out: recordings whose offset is not known."""

    folder: Path
    mode: str
    frame_rate: Fraction
    frames: int
    outputs: tuple[Output, ...]
    archive: Path | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Work:
    """A recording to be written."""

    recording: Recording
    source: RecordedFile
    head: Head
    rate: float  # reference seconds per second of the recording; 1 if drift is not corrected


def apply_offsets(manifest: Manifest, options: ApplyOptions, progress: Progress = silent) -> Applied:
    """Write all recordings with a known offset, on one clock, with manifest and report.

    Raises FramewiseError. Nothing is written then, or if ``progress`` raises an exception, which stops it.
    """
    _check(manifest, options)
    sources = [read_source(recording) for recording in manifest.answered]
    rate = options.frame_rate or common_rate(manifest, sources)
    rates = [r.rate if options.correct_drift else 1.0 for r in manifest.answered]
    place = [r.name for r in manifest.answered].index(manifest.reference)
    done = plan(_spans(manifest.answered, sources, rates, options.mode), options.mode, rate, place)
    _check_length(done, rate, sources)
    works = [_Work(*each) for each in zip(manifest.answered, sources, _heads(done, sources), rates, strict=True)]
    _check_overlap(works, done, rate)
    with _new_folder(options.output) as folder:
        if options.manifest_only:
            outputs = [_untouched(work, rate) for work in works]
        else:
            outputs = _write_all(works, done, rate, folder, progress)
        if options.archive and not options.manifest_only:
            _archive(folder / ARCHIVE, [output.path for output in outputs if output.path])
        applied = _applied(manifest, options, rate, done, outputs)
        _describe(manifest, applied, folder)
    progress(1.0, "done")
    return applied


def common_rate(manifest: Manifest, sources: Sequence[RecordedFile]) -> Fraction:
    """Frame rate of all outputs: the reference's, or else that of the first recording with pictures. Without any pictures, a
    frame is a sample."""
    ordered = sorted(zip(manifest.answered, sources, strict=True), key=lambda pair: pair[0].name != manifest.reference)
    rates = [source.pictures.rate for _, source in ordered if source.pictures]
    return rates[0] if rates else Fraction(max(source.sample_rate or 1 for source in sources))


def _check(manifest: Manifest, options: ApplyOptions) -> None:
    if options.mode not in MODES:
        raise SettingsError(f"--mode: expected {', '.join(MODES)}, found {brief(options.mode)}")
    if options.frame_rate is not None and not 0 < options.frame_rate <= 1000:
        raise SettingsError(f"--frame-rate: expected at most 1000 frames a second, found {options.frame_rate}")
    if len(manifest.answered) < 2:
        why = "; ".join(f"{r.name}: {r.reason or 'not answered'}" for r in manifest.recordings if not r.answered)
        raise RequestError(f"expected at least two recordings whose offset is known, found {len(manifest.answered)} ({why})")
    output = options.output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SettingsError(f"--output: {output} is not empty; give a new folder, nothing is overwritten")


def _spans(recordings: Sequence[Recording], sources: Sequence[RecordedFile], rates: Sequence[float], mode: str) -> list[Span]:
    """Spans of recordings. A union includes all picture and sound; other modes use pictures, so that no output lacks one."""
    lengths = [source.seconds if mode == "union" else source.shown_seconds for source in sources]
    return [Span(r.offset or 0.0, seconds * k) for r, seconds, k in zip(recordings, lengths, rates, strict=True)]


def _heads(done: Plan, sources: Sequence[RecordedFile]) -> list[Head]:
    """Heads. Those of sound alone have no residual, because sound is moved by samples."""
    return [h if s.pictures else replace(h, residual_seconds=0.0) for h, s in zip(done.heads, sources, strict=True)]


def _check_length(done: Plan, rate: Fraction, sources: Sequence[RecordedFile]) -> None:
    """Raise RequestError if the result would take days to write: an offset or a header must be wrong."""
    seconds, shown = float(done.frames / rate), any(source.pictures for source in sources)
    if seconds > MAX_SECONDS or (shown and done.frames > MAX_FRAMES):
        raise RequestError(
            f"the result would last {seconds:.0f} s, {done.frames} frames; expected at most {MAX_SECONDS} s and {MAX_FRAMES} "
            "frames; check the offsets, use --mode intersection or reference, or a lower --frame-rate"
        )


def _check_overlap(works: Sequence[_Work], done: Plan, rate: Fraction) -> None:
    """Raise RequestError if nothing of a recording would be in the result."""
    for work in works:
        stop = work.head.frames + round(work.source.shown_seconds * work.rate * rate)
        if stop <= 0 or work.head.frames >= done.frames:
            raise RequestError(f"{work.recording.name}: nothing of it is in the time of the reference; use --mode union")


@contextlib.contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Temporary folder beside ``output``, renamed to it at the end, so that ``output`` is always complete."""
    target = output.absolute()
    try:
        cure = "make room there, or give another --output"
        with full_disk_explained(str(target), cure), folder_written_atomically(target) as folder:
            yield folder
    except OSError as error:
        raise SettingsError(f"--output: {target} cannot be written: {error.strerror}") from None


def _write_all(works: Sequence[_Work], done: Plan, rate: Fraction, folder: Path, progress: Progress) -> list[Output]:
    outputs = []
    for number, (work, name) in enumerate(zip(works, output_names(works), strict=True)):
        told = named(part_of(progress, number, len(works)), work.recording.name)
        outputs.append(_write(work, done, rate, folder / name, told))
    return outputs


def output_names(works: Sequence[Any]) -> list[str]:
    """{basename}_synced.{ext} of each recording; ext changes if the original format cannot hold the output."""
    named = []
    for work in works:
        name, with_pictures = Path(work.recording.name), bool(work.source.pictures)
        known = name.suffix.lower() in (WITH_PICTURES if with_pictures else SOUND_ALONE)
        suffix = name.suffix if known else OTHERWISE[not with_pictures]
        named.append(Path(f"{name.stem}_synced{suffix}"))
    return unique_names(named)


def _untouched(work: _Work, rate: Fraction) -> Output:
    return Output(work.recording.name, None, work.head, _samples(work, rate), "manifest only", (), _drift(work))


def _samples(work: _Work, rate: Fraction) -> int | None:
    return moved_samples(work.source, work.head, rate) if work.source.sample_rate else None


def moved_samples(source: RecordedFile, head: Head, frame_rate: Fraction) -> int:
    """Number of samples by which sound is moved: together with its picture, or exactly if there is none."""
    assert source.sample_rate
    return head.samples(frame_rate, source.sample_rate) if source.pictures else round(head.seconds * source.sample_rate)


def _drift(work: _Work) -> float:
    return (work.rate - 1) * 1e6


def _write(work: _Work, done: Plan, rate: Fraction, path: Path, progress: ShareProgress) -> Output:
    """Write one output: a verified copy of the packets if the file needs no change, otherwise encoded."""
    how, settings = ENCODED, encoding(work.source, path)
    with written_atomically(path) as part:
        if _may_be_copied(work, done.frames, rate, path) and _copied(work, part):
            how, settings = COPIED, ("-c", "copy")
        else:
            part.unlink(missing_ok=True)
            graph = filters(work.source, work.head, done.frames, rate, work.rate)
            reading = ffmpeg.reading(work.source.path)
            arguments = ["-copyts", *_turned(work.source), *reading, *graph, *settings, *STRIPPED, ffmpeg.writing(part)]
            ffmpeg.run(arguments, work.recording.name, float(done.frames / rate), progress)
        _check_output(part, work, done.frames, rate)
    return Output(work.recording.name, path, work.head, _samples(work, rate), how, settings, _drift(work))


def _turned(source: RecordedFile) -> list[str]:
    """FFmpeg's arguments by which pictures are written as browsers show them."""
    if source.pictures:
        with contextlib.suppress(MediaError):  # of a file without one picture FFmpeg says what is wrong
            return ffmpeg.turned(shown_orientation(source.path), may_say_orientation_itself(source.path))
    return []


def encoding(source: RecordedFile, path: Path) -> tuple[str, ...]:
    """FFmpeg's encoding settings for an output."""
    suffix = path.suffix.lower()
    if not source.pictures:
        return SOUND_ALONE[suffix]
    sound = WITH_PICTURES[suffix] if source.sample_rate else ()
    return (*X264, *sound, *(() if suffix == ".mkv" else FAST_START))


def filters(source: RecordedFile, head: Head, frames: int, frame_rate: Fraction, rate: float) -> list[str]:
    """FFmpeg's filter graph and output mapping. rate: factor by which a second is stretched, 1 without drift correction."""
    graph, mapped = [], list[str]()
    if source.pictures:
        graph.append(f"[0:v:0]{','.join(_of_pictures(head.frames, frames, frame_rate, rate))}[v]")
        mapped += ["-map", "[v]", "-fps_mode", "passthrough"]
    if source.sample_rate:
        total = samples_of(frames, frame_rate, source.sample_rate)
        moved = moved_samples(source, head, frame_rate)
        graph.append(f"[0:a:0]{','.join(_of_sound(moved, total, source.sample_rate, rate))}[a]")
        mapped += ["-map", "[a]"]
    return ["-filter_complex", ";".join(graph), *mapped]


def _of_pictures(head: int, frames: int, frame_rate: Fraction, rate: float) -> Iterator[str]:
    if rate != 1:
        yield f"setpts=PTS*{rate:.12f}"
    # A constant rate from the start of the file, even if its first picture comes late: the filters below count frames.
    yield f"fps=fps={frame_rate.numerator}/{frame_rate.denominator}:start_time=0"
    if head < 0:
        yield f"trim=start_frame={-head}"
        yield "setpts=PTS-STARTPTS"
    yield f"tpad=start={max(head, 0)}:stop=-1:color=black"
    yield f"trim=end_frame={frames}"
    yield "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # the encoder halves the resolution of colours


def _of_sound(head: int, samples: int, sample_rate: int, rate: float) -> Iterator[str]:
    # Gaps and a late start become silence: samples count from the start of the file.
    yield "aresample=async=1:first_pts=0"
    if rate != 1:
        up, slowed = drift_rates(rate)
        yield f"aresample={up},asetrate={slowed},aresample={sample_rate}"
    if head < 0:
        yield f"atrim=start_sample={-head}"
        yield "asetpts=PTS-STARTPTS"
    if head > 0:
        yield f"adelay={head}S:all=1"
    yield "apad"
    yield f"atrim=end_sample={samples}"


def drift_rates(rate: float) -> tuple[int, int]:
    """Two whole sample rates whose ratio is ``rate``: to 1e-9 from 20 ppm up, below that to 1.4 ppm, 5 ms per hour.

    Sound is resampled to the first and played at the second. A single step from its own rate would be off by up to 10 ppm.
    atempo is unsuitable: it shifts whole windows by up to a millisecond so that they fit each other.
    """
    up = np.arange(*DRIFT_RATES)
    slowed = np.rint(up / rate)
    best = int(np.abs(up / slowed - rate).argmin())
    return int(up[best]), int(slowed[best])


# Copies.


def _may_be_copied(work: _Work, frames: int, rate: Fraction, path: Path) -> bool:
    """True if a file already equals the result, frame for frame from start to end."""
    pictures, source = work.source.pictures, work.source
    if not pictures or work.rate != 1 or work.head.frames != 0 or path.suffix.lower() != source.path.suffix.lower():
        return False
    starts = abs(pictures.start_seconds) < 0.5 / rate
    return pictures.constant and starts and (pictures.rate, pictures.frames) == (rate, frames)


def _copied(work: _Work, part: Path) -> bool:
    """Copy a file's packets and compare the decoded pictures of both; False if they differ."""
    name, source = work.recording.name, work.source
    mapped = ["-map", "0:v:0", *(["-map", "0:a:0"] if source.sample_rate else [])]
    try:
        ffmpeg.run([*ffmpeg.reading(source.path), *mapped, "-c", "copy", *STRIPPED, ffmpeg.writing(part)], name, source.seconds)
        pairs = itertools.zip_longest(picture_hashes(source.path), picture_hashes(part))
        return all(a == b for a, b in pairs)
    except StorageFull:
        raise
    except FramewiseError:
        return False  # the container cannot hold the codec: encode it instead


def picture_hashes(path: Path) -> Iterator[str]:
    """Yield size and hash of each decoded picture of a file, in order."""
    decoded = ["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "sha256", "pipe:1"]
    told: deque[str] = deque(maxlen=ffmpeg.LAST_LINES)
    for line in ffmpeg.lines_of([*ffmpeg.reading(path), *decoded], path.name, told):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 6 and len(cells[5]) == 64:
            yield f"{cells[4]} {cells[5]}"
        elif not line.startswith("#") and "=" not in line:
            told.append(line)


def _check_output(part: Path, work: _Work, frames: int, rate: Fraction) -> None:
    """Raise MediaError for an incomplete output: FFmpeg may report success after writing too little."""
    written = probe(part)
    if work.source.pictures and (not written.pictures or written.pictures.frames != frames):
        found = written.pictures.frames if written.pictures else 0
        raise MediaError(f"{work.recording.name}: FFmpeg wrote {found} frames, expected {frames}; is the file damaged?")
    missing = float(frames / rate) - written.seconds
    if not work.source.pictures and missing > SOUND_SLACK_SECONDS:
        raise MediaError(f"{work.recording.name}: FFmpeg wrote {missing:.3f} s too little sound; is the file damaged?")


# Files written beside the media.


def _archive(path: Path, outputs: Sequence[Path]) -> None:
    """Write a ZIP without compression, which would not make media smaller."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        for output in outputs:
            archive.write(output, output.name)


def _applied(manifest: Manifest, options: ApplyOptions, rate: Fraction, done: Plan, outputs: Sequence[Output]) -> Applied:
    target = options.output.absolute()
    moved = tuple(replace(o, path=target / o.path.name if o.path else None) for o in outputs)
    archive = target / ARCHIVE if options.archive and not options.manifest_only else None
    left_out = tuple(recording.name for recording in manifest.recordings if not recording.answered)
    return Applied(target, options.mode, rate, done.frames, moved, archive, left_out)


def _describe(manifest: Manifest, applied: Applied, folder: Path) -> None:
    """Write the original manifest, a manifest of the outputs, and a report."""
    write(manifest, folder / MANIFEST)
    synced = synced_manifest(manifest, applied, folder)
    if synced:
        write(synced, folder / SYNCED_MANIFEST)
    write_readable_json(folder / REPORT, report(applied))


def synced_manifest(manifest: Manifest, applied: Applied, folder: Path) -> Manifest | None:
    """Manifest of the outputs, whose offsets are the residuals of rounding to whole frames; None without media."""
    outputs = [output for output in applied.outputs if output.path]
    if not outputs:
        return None
    names = {output.recording: output.path.name for output in outputs if output.path}
    zero = next(_left_over(o, manifest) for o in outputs if o.recording == manifest.reference)
    recordings = []
    for output in outputs:
        before, path = manifest.recording(output.recording), folder / names[output.recording]
        source = probe(path)
        recordings.append(
            replace(
                before, name=path.name, path=path, size=path.stat().st_size, duration=source.seconds,
                frame_rate=source.pictures.rate if source.pictures else None,
                frames=source.pictures.frames if source.pictures else None, sample_rate=source.sample_rate,
                offset=_left_over(output, manifest) - zero,
                drift_ppm=0.0 if output.drift_ppm or before.drift_ppm is None else before.drift_ppm,
                audio=None, visual=None, audio_video_diff=None,
            )
        )  # fmt: skip
    return replace(manifest, reference=names[manifest.reference], recordings=tuple(recordings), pairs=())


def _left_over(output: Output, manifest: Manifest) -> float:
    """Seconds by which an output is early: the residual, plus the effect of uncorrected drift on the head."""
    recording, head = manifest.recording(output.recording), output.head
    moved = head.seconds - head.residual_seconds
    return head.residual_seconds if output.drift_ppm else head.seconds - recording.rate * moved


def report(applied: Applied) -> dict[str, Any]:
    """Report as JSON."""
    return {
        "mode": applied.mode,
        "frame_rate": f"{applied.frame_rate.numerator}/{applied.frame_rate.denominator}",
        "frames": applied.frames,
        "seconds": float(applied.frames / applied.frame_rate),
        "left_out": list(applied.left_out),
        "outputs": [
            {
                "recording": output.recording,
                "output": output.path.name if output.path else None,
                "head_seconds": output.head.seconds,
                "head_frames": output.head.frames,
                "head_samples": output.samples,
                "residual_seconds": output.head.residual_seconds,
                "drift_corrected_ppm": output.drift_ppm,
                "how": output.how,
                "settings": " ".join(output.settings),
            }
            for output in applied.outputs
        ],
    }
