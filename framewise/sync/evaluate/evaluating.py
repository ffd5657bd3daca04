"""Quality of estimated offsets, measured on pairs with known offsets that are cut out of given recordings."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from framewise.core.errors import FramewiseError, RequestError
from framewise.core.progress import Progress, silent
from framewise.core.storage import write_readable_json
from framewise.processes import PipedProcess
from framewise.sync.evaluate.outcomes import METHODS, EstimateOutcome, metrics_of
from framewise.sync.evaluate.variants import Case, make_cases
from framewise.sync.manifest import Manifest

# (two recordings, "audio" or "visual", search range in seconds) -> manifest. A module-level function, for another process.
Estimator = Callable[[Sequence[Path], str, float], Manifest]

DEFAULT_OFFSETS = (-4.7123, -1.5, -0.517, -0.0117, 0.0, 0.0083, 0.0333, 0.4567, 2.0, 6.789)
SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mts", ".wav", ".flac", ".mp3", ".m4a", ".ogg"}
SAMPLED_SECONDS = 0.05
METRICS = "metrics.json"


def evaluate_offsets(
    originals: Path, estimator: Estimator, output: Path, offsets: Sequence[float] = DEFAULT_OFFSETS, seconds: float = 60.0,
    max_offset: float = 20.0, progress: Progress = silent,
) -> dict[str, Any]:  # fmt: skip
    """Metrics of both methods on all recordings of a folder, also written to ``output`` with figures.

    seconds: maximum length of the files of a case. Raises FramewiseError.
    """
    files = recordings_of(originals)
    outcomes, notes = list[EstimateOutcome](), list[str]()
    for place, original in enumerate(files):
        with tempfile.TemporaryDirectory(prefix="framewise-evaluate-") as folder:
            progress(place / len(files), f"{original.name}: cutting")
            cases, told = make_cases(original, offsets, seconds, Path(folder))
            notes += told
            runs = [(case, method) for case in cases for method in METHODS]
            for number, (case, method) in enumerate(runs):
                progress((place + number / len(runs)) / len(files), f"{original.name} {case.offset:+g} s {method}")
                outcomes.append(measure(case, method, estimator, max_offset))
    if not outcomes:
        raise RequestError(f"{originals}: no pair could be made: {'; '.join(notes)}")
    metrics = {**metrics_of(outcomes), "notes": notes, "results": [asdict(outcome) for outcome in outcomes]}
    output.mkdir(parents=True, exist_ok=True)
    write_readable_json(output / METRICS, metrics)
    from framewise.sync.evaluate.plots import draw_all

    draw_all(outcomes, output)
    progress(1.0, "done")
    return metrics


def recordings_of(folder: Path) -> list[Path]:
    """Recordings in a folder. Raises RequestError if there are none."""
    if not folder.is_dir():
        raise RequestError(f"{folder}: expected a folder of recordings, found {'a file' if folder.exists() else 'nothing'}")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise RequestError(f"{folder}: expected recordings ({', '.join(sorted(SUFFIXES))}), found none")
    return found


# One case.


def measure(case: Case, method: str, estimator: Estimator, max_offset: float) -> EstimateOutcome:
    """Run the estimator in its own process and measure its resources. Raises FramewiseError if it ends without an answer."""
    child = PipedProcess(_estimate, estimator, case.paths, method, max_offset)
    try:
        memory, processor = _watch(child.pid, child.connection)
        answer = child.connection.recv()
    except EOFError:
        raise FramewiseError(f"{case.original}: the estimator ended without an answer; is memory short?") from None
    finally:
        child.kill()
    offset, confidence, reason, seconds = answer
    error = None if offset is None else offset - case.offset
    return EstimateOutcome(
        case.original, case.offset, case.treatment, method, offset, error, confidence, reason, seconds, memory, processor
    )


def _estimate(estimator: Estimator, paths: Sequence[Path], method: str, max_offset: float, answer: Connection) -> None:
    started = time.monotonic()
    try:
        found = estimator(paths, method, max_offset).recordings[1]
        told = (found.offset if found.answered else None, found.confidence, found.reason)
    except FramewiseError as error:
        told = (None, 0.0, str(error))
    answer.send((*told, time.monotonic() - started))


def _watch(pid: int, answer: Connection) -> tuple[float, float]:
    """(peak memory in megabytes, peak processor use in per cent) of a process and its children, until it answers."""
    memory, processor = 0.0, 0.0
    before, used = time.monotonic(), 0.0
    while not answer.poll(SAMPLED_SECONDS):
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            memory = max(memory, sum(p.memory_info().rss for p in family) / 1e6)
            cpu = sum(sum(p.cpu_times()[:2]) for p in family)
        except psutil.Error:
            continue
        now = time.monotonic()
        if now - before >= 10 * SAMPLED_SECONDS:  # the kernel counts in hundredths of a second
            processor, before, used = max(processor, 100 * (cpu - used) / (now - before)), now, cpu
    return memory, processor
