"""Start times of several recordings of one scene, by sound, by picture, or both. Called by the command and a page."""

import filecmp
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import av

from framewise.core.errors import MediaError, RequestError
from framewise.core.progress import Progress, between, named, silent
from framewise.media.video import open_container
from framewise.sync import manifest as files
from framewise.sync.manifest import Estimate, Manifest, Pair, new_request_id, now, rating_of, unique_names
from framewise.sync.offsets.combine import Answer, answer_for, by_picture, by_sound, merged
from framewise.sync.offsets.material import Material
from framewise.sync.offsets.movement import measure_movement
from framewise.sync.offsets.network import ClockSolution, Link, solve
from framewise.sync.offsets.sound import analyse, decode_sound
from framewise.sync.sources import streams_of

METHODS = ("audio", "visual", "both")
THREADS = 2
logger = logging.getLogger("framewise.sync")


@dataclass(frozen=True)
class EstimateOptions:
    """max_offset: search range in seconds each way, None for all that the recordings' lengths allow. pictures: folder for
    figures, created if missing. request_id: identifies the run in log lines."""

    method: str = "both"
    max_offset: float | None = 20.0
    minimum_confidence: float = 0.2
    pictures: Path | None = None
    request_id: str = field(default_factory=new_request_id)


def estimate_offsets(paths: Sequence[Path], options: EstimateOptions, progress: Progress = silent) -> Manifest:
    """Map recordings to the clock of the first one. Prints nothing; logs each step to ``framewise.sync``.

    The manifest also names the recordings without an answer, with the reason. Raises RequestError if there is nothing to
    compare (a single file, the same file twice), MediaError for an unreadable file, or if no two have what the method needs.
    """
    log = logging.LoggerAdapter(logger, {"request_id": options.request_id})
    _check(paths, options)
    log.info("%d recordings, method %s, reference %s", len(paths), options.method, paths[0].name)
    materials = _read_headers(paths)
    with tempfile.TemporaryDirectory(prefix="framewise-sync-") as scratch:
        _measure(materials, options, Path(scratch), progress, log)
        reach = options.max_offset if options.max_offset is not None else max(m.duration for m in materials)
        answers = _compare(materials, options, reach, progress, log)
        made = _conclude(materials, answers, options, reach)
        for recording in made.recordings:
            log.info("%s", describe(recording))
        if options.pictures is not None:
            from framewise.sync.offsets.plots import draw_all

            with _step("drawing", progress, log):
                draw_all(materials, made, options.pictures)
        for material in materials:
            material.sound = None  # its samples are in the folder that is removed now
    return made


def describe(recording: files.Recording) -> str:
    """Describe a recording's answer in one line."""
    if not recording.answered or recording.offset is None:
        return f"{recording.name}: not answered: {recording.reason}"
    drift = f", drift {recording.drift_ppm:+z.1f} ppm" if recording.drift_ppm is not None else ""
    note = f"; {recording.reason}" if recording.reason else ""
    return (
        f"{recording.name}: {recording.offset:+.4f} s{drift}, confidence {recording.confidence:.2f} ({recording.rating}){note}"
    )


def _check(paths: Sequence[Path], options: EstimateOptions) -> None:
    if options.method not in METHODS:
        raise RequestError(f"method: expected one of {', '.join(METHODS)}, found {options.method!r}")
    if options.max_offset is not None and not 0 < options.max_offset < math.inf:
        raise RequestError(f"max offset: expected seconds above 0, or the whole length, found {options.max_offset!r}")
    if not 0 <= options.minimum_confidence <= 1:
        raise RequestError(f"minimum confidence: expected a number from 0 to 1, found {options.minimum_confidence!r}")
    if len(paths) < 2:
        raise RequestError(f"expected two recordings or more, found {len(paths)}; give all cameras of the scene in one command")
    for path in paths:
        if not path.is_file():
            raise MediaError(f"{path}: no such file; is the name right?")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: the file is empty; is the copy complete?")
    for one, two in combinations(paths, 2):
        if one.stat().st_size == two.stat().st_size and (one.samefile(two) or filecmp.cmp(one, two, shallow=False)):
            raise RequestError(f"{one} and {two} are the same recording; give each camera's file once")


def _read_headers(paths: Sequence[Path]) -> list[Material]:
    """Read headers and assign unique names. Raises MediaError."""
    found = []
    for path, name in zip(paths, unique_names(paths), strict=True):
        with open_container(path) as container:
            found.append(_header(container, path, name))
    return found


def _header(container: Any, path: Path, name: str) -> Material:
    video, audio = streams_of(container)
    if not video and not audio:
        raise MediaError(f"{path.name}: expected sound or pictures, found neither; is it a recording?")
    rate = video.average_rate if video else None
    return Material(
        path=path,
        name=name,
        duration=float(Fraction(container.duration or 0, av.time_base)),
        frame_rate=Fraction(rate) if rate else None,
        frames=(video.frames or None) if video else None,
        sample_rate=audio.codec_context.sample_rate if audio else None,
        no_sound="" if audio else "it has no sound track",
        no_picture="" if video else "it has no pictures",
    )


@contextmanager
def _step(what: str, progress: Progress, log: Any) -> Iterator[None]:
    progress(0.0, what)
    began = time.monotonic()
    yield
    progress(1.0, what)
    log.info("%s: done in %.1f s", what, time.monotonic() - began)


def _measure(materials: list[Material], options: EstimateOptions, scratch: Path, progress: Progress, log: Any) -> None:
    """Measure sound and movement of several recordings in parallel: decoding releases the interpreter's lock."""
    _check_enough(materials, options.method)
    jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
    for place, material in enumerate(materials):
        if options.method != "visual" and not material.no_sound:
            jobs.append((_measure_sound, (material, scratch / f"{place}.raw", progress, log)))
        if options.method != "audio" and not material.no_picture:
            jobs.append((_measure_movement, (material, progress, log)))
    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(job, *arguments) for job, arguments in jobs]:
            future.result()
    for material in materials:
        for lack in filter(None, (material.no_sound, material.no_picture)):
            log.info("%s: %s", material.name, lack)


def _measure_sound(material: Material, target: Path, progress: Progress, log: Any) -> None:
    what = f"sound of {material.name}"
    with _step(what, progress, log):
        samples = decode_sound(material.path, target, named(between(progress, 0.0, 0.9), what))
        material.sound = analyse(samples)
        material.duration = max(material.duration, material.sound.seconds)
    if material.sound.silent:
        material.no_sound = "its sound is silence"


def _measure_movement(material: Material, progress: Progress, log: Any) -> None:
    what = f"movement in {material.name}"
    with _step(what, progress, log):
        material.movement = measure_movement(material.path, named(progress, what))
        material.frames = material.movement.pictures
    if material.movement.still:
        material.no_picture = "nothing moves in its pictures"


def _check_enough(materials: list[Material], method: str) -> None:
    """Raise MediaError if fewer than two recordings have what the method compares."""
    heard, seen = (
        sum(not lack for lack in lacks) for lacks in zip(*((m.no_sound, m.no_picture) for m in materials), strict=True)
    )
    if method == "audio" and heard < 2:
        raise MediaError(f"{heard or 'none'} of {len(materials)} recordings has a sound track; use --method visual")
    if method == "visual" and seen < 2:
        raise MediaError(f"{seen or 'none'} of {len(materials)} recordings has pictures; use --method audio")
    if heard < 2 and seen < 2:
        raise MediaError(f"{heard} of {len(materials)} recordings have sound and {seen} pictures: no two can be compared")


def _compare(
    materials: list[Material], options: EstimateOptions, reach: float, progress: Progress, log: Any
) -> dict[tuple[int, int], dict[str, Answer]]:
    """Answers of each method, and of "both", for every two recordings."""
    found: dict[tuple[int, int], dict[str, Answer]] = {}
    pairs = list(combinations(range(len(materials)), 2))
    for number, (a, b) in enumerate(pairs):
        progress(number / len(pairs), "comparing")
        one, two = materials[a], materials[b]
        answers: dict[str, Answer] = {}
        if options.method != "visual":
            answers["audio"] = by_sound(one, two, reach, options.minimum_confidence)
        if options.method != "audio":
            answers["visual"] = by_picture(one, two, reach, options.minimum_confidence)
        if options.method == "both":
            answers["both"] = merged(answers["audio"], answers["visual"], options.minimum_confidence)
        for method, answer in answers.items():
            log.info("%s and %s, %s: %s", one.name, two.name, method, answer.text())
        found[a, b] = answers
    progress(1.0, "comparing")
    return found


def _links(answers: dict[tuple[int, int], dict[str, Answer]], method: str) -> list[Link]:
    return [
        Link(a, b, answer.offset, answer.drift or 0.0, answer.confidence, answer.tolerance)
        for (a, b), by_method in answers.items()
        if (answer := by_method[method]).offset is not None
    ]


def _conclude(
    materials: list[Material], answers: dict[tuple[int, int], dict[str, Answer]], options: EstimateOptions, reach: float
) -> Manifest:
    methods = ("audio", "visual") if options.method == "both" else (options.method,)
    links = _links(answers, options.method)
    solution = solve(links)
    each = {method: (solution if method == options.method else solve(_links(answers, method))) for method in methods}
    pairs = [
        Pair(
            materials[a].name, materials[b].name, method, answer.offset, round(answer.confidence, 4),
            _residual(solution, a, b, answer),
        )
        for (a, b), by_method in answers.items()
        for method, answer in by_method.items()
        if method in methods
    ]  # fmt: skip
    recordings = tuple(_recording(place, materials, answers, solution, each, options) for place in range(len(materials)))
    return Manifest(
        created=now(),
        request_id=options.request_id,
        method=options.method,
        max_offset=float(reach),
        minimum_confidence=options.minimum_confidence,
        reference=materials[0].name,
        recordings=recordings,
        pairs=tuple(pairs),
        loop_residual=solution.loop_residual,
    )


def _residual(solution: ClockSolution, a: int, b: int, answer: Answer) -> float | None:
    if answer.offset is None:
        return None
    return solution.residual(Link(a, b, answer.offset, answer.drift or 0.0, answer.confidence, answer.tolerance))


def _recording(
    place: int, materials: list[Material], answers: dict[tuple[int, int], dict[str, Answer]], solution: ClockSolution,
    each: dict[str, ClockSolution], options: EstimateOptions,
) -> files.Recording:  # fmt: skip
    material = materials[place]
    evidence = {method: _evidence(place, one, method, materials) for method, one in each.items()}
    sound, sight = evidence.get("audio"), evidence.get("visual")
    diff = (
        abs(sound.offset - sight.offset) if sound and sight and sound.offset is not None and sight.offset is not None else None
    )
    offset, drift, confidence, reason = answer_for(place, materials, answers, solution, options.method)
    return files.Recording(
        name=material.name,
        path=material.path.absolute(),
        size=material.path.stat().st_size,
        duration=material.duration,
        frame_rate=material.frame_rate,
        frames=material.frames,
        sample_rate=material.sample_rate,
        answered=offset is not None,
        offset=offset,
        drift_ppm=drift,
        confidence=round(confidence, 4),
        rating=rating_of(confidence),
        reason=reason,
        audio=sound,
        visual=sight,
        audio_video_diff=diff if place else None,
    )


def _evidence(place: int, solution: ClockSolution, method: str, materials: list[Material]) -> Estimate | None:
    if (materials[place].no_sound if method == "audio" else materials[place].no_picture) or (
        place == 0 and len(solution.offsets) < 2
    ):
        return None
    offset = solution.offsets.get(place)
    drift = solution.drifts.get(place, 0.0) * 1e6 if method == "audio" and offset is not None else None
    return Estimate(offset, round(solution.confidences.get(place, 0.0), 4), drift)
