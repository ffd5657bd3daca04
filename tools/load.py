"""Measure response times for many clients while the service extracts and trains, and its memory.

python -m tools.load [--seconds 600] [--clients 20] [--seed 3] [--picture memory.png]

Renders clips, starts a backend on empty folders and sends requests like Label Studio: predictions of cached and cold videos,
webhooks (each followed by a training), /setup and /health. Prints the number and times of answers, and the memory
(proportional set size) of each process. Exit code 1 if a request failed, if /health or /setup took too long, or if the memory
of a process grows.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import math
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth, render_clips
from framewise.demo.run import LABEL_CONFIG, true_regions
from framewise.settings import Settings
from tests.index_clips import copy_distinct
from tests.messages import Json, Project, task_of
from tests.process_tree import descendants, memory_bytes, web_pids
from tools.own_service import settings_in

CLIPS = 8  # annotated again and again, so that the size of trainings stays the same
COLD_AT_ONCE = 3  # more would only wait for each other
PAUSE_SECONDS = (0.1, 0.9)  # between two requests of a client
REQUEST_SECONDS = 100.0  # time that Label Studio waits for a prediction
TRAINED_SECONDS = 300.0
SAMPLE_SECONDS = 1.0
LIMITS_MS = {"/health": 100.0, "/setup": 100.0}  # for the 99th percentile; Label Studio waits 1 s and 3 s
WARM_UP = 1 / 3  # of the run: caches fill, libraries are loaded
SECONDS_TO_JUDGE_MEMORY = 300.0  # a shorter run is only warm-up
GROWTH, GROWTH_BYTES = 0.05, 16 * 2**20  # tolerated after the warm-up: share of the mean, or bytes if that is more
MIB = 2**20


@dataclass
class Answers:
    """Outcomes of all requests, by kind."""

    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: str, milliseconds: float, error: str | None) -> None:
        with self.lock:
            self.milliseconds.setdefault(path, []).append(milliseconds)
            if error:
                self.errors.setdefault(path, []).append(error)

    def ask(self, settings: Settings, name: str, method: str, path: str, body: Json | None) -> Json | None:
        """Send a request; returns the answer, None for an error. Uses a new connection each time, like Label Studio."""
        content, error, answer = json.dumps(body).encode() if body else None, None, None
        connection = http.client.HTTPConnection(settings.host, settings.port, timeout=REQUEST_SECONDS)
        began = time.perf_counter()
        try:
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            if response.status == 200:
                answer = json.loads(text)
            else:
                error = f"{response.status} {text[:300]!r}"
        except (OSError, http.client.HTTPException) as problem:
            error = f"{type(problem).__name__}: {problem}"
        finally:
            connection.close()
        self.add(name, 1000 * (time.perf_counter() - began), error)
        return answer

    def p99(self, path: str) -> float:
        values = self.milliseconds[path]
        return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


class Clients:
    """Simulated users of Label Studio, each with random requests in sequence."""

    def __init__(self, settings: Settings, clips: list[ClipTruth], seed: int):
        self._settings, self._clips, self._seed = settings, clips, seed
        self._project = Project(LABEL_CONFIG)
        self._tasks = [task_of(number, str(clip.path)) for number, clip in enumerate(clips)]
        self._cold_numbers = itertools.count(len(clips))
        self._cold_slots = threading.BoundedSemaphore(COLD_AT_ONCE)
        self.answers = Answers()
        self.stop = threading.Event()

    def prepare(self) -> None:
        """Annotate every clip, and wait until each is predicted, because the first training may know only the first clips."""
        self._setup()
        for number in range(len(self._clips)):
            self._submit(number)
        end = time.monotonic() + TRAINED_SECONDS
        for task in self._tasks:
            while self._predict("/predict cached", task) == [] and time.monotonic() < end:
                time.sleep(0.5)
        self.answers = Answers()

    @contextlib.contextmanager
    def at_work(self, number: int) -> Iterator[None]:
        """Context with this number of running clients."""
        threads = [threading.Thread(target=self._client, args=(random.Random(f"{self._seed} {n}"),)) for n in range(number)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def _client(self, rng: random.Random) -> None:
        todo: list[tuple[Callable[[], object], int]] = [
            (self._health, 30),
            (self._setup, 25),
            (lambda: self._predict("/predict cached", rng.choice(self._tasks)), 25),
            (lambda: self._submit(rng.randrange(len(self._clips))), 12),
            (lambda: self._predict_cold(rng), 8),
        ]
        while not self.stop.wait(rng.uniform(*PAUSE_SECONDS)):
            rng.choices([do for do, _ in todo], [weight for _, weight in todo])[0]()

    def _health(self) -> None:
        self._request("/health", "GET", "/health", None)

    def _setup(self) -> None:
        self._request("/setup", "POST", "/setup", self._project.setup_body())

    def _submit(self, number: int) -> None:
        regions = true_regions(self._clips[number])
        event = self._project.annotation_event(self._tasks[number], regions, "ANNOTATION_UPDATED", annotation=number + 1)
        self._request("/webhook", "POST", "/webhook", event)

    def _predict(self, name: str, task: Json) -> Json | list[Any]:
        """Request the prediction of a task; [] if there is none."""
        answer = self._request(name, "POST", "/predict", self._project.predict_body([task]))
        return answer["results"][0] if answer else []

    def _predict_cold(self, rng: random.Random) -> None:
        """Request predictions of a new video until there is one."""
        if not self._cold_slots.acquire(blocking=False):
            return
        try:
            number = next(self._cold_numbers)
            original = rng.choice(self._clips).path
            path = copy_distinct(original, original.with_name(f"cold-{number}.mp4"), number)
            while self._predict("/predict cold", task_of(number, str(path))) == [] and not self.stop.wait(1.0):
                pass
        finally:
            self._cold_slots.release()

    def _request(self, name: str, method: str, path: str, body: Json | None) -> Json | None:
        return self.answers.ask(self._settings, name, method, path, body)


class Memory:
    """Samples of the proportional set size of each process of a service."""

    def __init__(self, supervisor: int):
        self._supervisor, self._began = supervisor, time.monotonic()
        self.samples: dict[str, list[tuple[float, float]]] = {}  # process -> (seconds, bytes)

    def sample(self) -> None:
        for pid, name in self._processes().items():
            with contextlib.suppress(OSError):  # the process has ended
                here = (time.monotonic() - self._began, float(memory_bytes(pid)))
                self.samples.setdefault(f"{name} ({pid})", []).append(here)

    def _processes(self) -> dict[int, str]:
        """Process id -> name."""
        master, *serving = web_pids(self._supervisor) or [0]
        names = {self._supervisor: "framewise serve", master: "gunicorn", **{pid: "web process" for pid in serving}}
        others = {p: "worker" if c.endswith("framewise work") else c for p, c in descendants(self._supervisor).items()}
        return {pid: name for pid, name in {**others, **names}.items() if pid}

    def trend(self, process: str, warm_up_seconds: float) -> tuple[float, float, float]:
        """Line fit to the samples after the warm-up: (mean in bytes, slope in bytes per second, growth in bytes).

        NaN if there are too few samples, for example of a restarted process.
        """
        points = np.array([p for p in self.samples[process] if p[0] >= warm_up_seconds]).reshape(-1, 2)
        if len(points) < 3:
            return math.nan, math.nan, math.nan
        slope, _ = np.polyfit(points[:, 0], points[:, 1], 1)
        return float(points[:, 1].mean()), float(slope), float(slope * (points[-1, 0] - points[0, 0]))


def main() -> int:
    """Run and print; returns 0 without faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="duration (default 600)")
    parser.add_argument("--clients", type=int, default=20, help="number of simultaneous clients (default 20)")
    parser.add_argument("--seed", type=int, default=3, help="random seed of clips and requests")
    parser.add_argument("--picture", type=Path, help="write a PNG of the memory over time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="framewise-load-") as folder:
        root = Path(folder)
        clips = render_clips(root / "clips", CLIPS, args.seed)
        settings = settings_in(root)
        with BackendServer(settings, root / "log") as backend:
            clients = Clients(settings, clips, args.seed)
            clients.prepare()
            memory = Memory(backend.pid)
            with clients.at_work(args.clients):
                watch(memory, args.seconds)
            jobs = backend.jobs()
    print_answers(clients.answers)
    print_memory(memory, args.seconds)
    if args.picture:
        draw_memory(memory, args.picture)
    return report_faults(faults(clients.answers, memory, args.seconds) + failed_jobs(jobs))


def watch(memory: Memory, seconds: float) -> None:
    """Sample for this time."""
    began, form = time.monotonic(), "{l_bar}{bar}| {n:.0f}/{total:.0f} s"
    with tqdm(total=seconds, desc="under load", bar_format=form) as bar:
        while (here := time.monotonic() - began) < seconds:
            bar.update(here - bar.n)
            memory.sample()
            time.sleep(SAMPLE_SECONDS)


def faults(answers: Answers, memory: Memory, seconds: float) -> list[str]:
    """Descriptions of all faults."""
    found = [f"{path}: {len(errors)} requests failed; the first: {errors[0]}" for path, errors in answers.errors.items()]
    for path, limit in ((p, ms) for p, ms in LIMITS_MS.items() if p in answers.milliseconds):
        p99 = answers.p99(path)
        if p99 > limit:
            found.append(f"{path}: the 99th percentile is {p99:.0f} ms, above {limit:.0f}")
    if seconds < SECONDS_TO_JUDGE_MEMORY:
        print(f"\nwhether memory grows is judged from {SECONDS_TO_JUDGE_MEMORY:.0f} s on")
        return found
    for process in memory.samples:
        mean, _, growth = memory.trend(process, WARM_UP * seconds)
        if growth > max(GROWTH * mean, GROWTH_BYTES):
            found.append(f"{process}: memory grew by {growth / MIB:.0f} MiB after the warm-up")
    return found


def failed_jobs(overview: Json) -> list[str]:
    return [f"job {j['id']} ({j['kind']}) failed: {j['error']}" for j in overview["jobs"] if j["state"] == "failed"]


def report_faults(found: list[str]) -> int:
    """Print the faults; returns the exit code."""
    for fault in found:
        print(f"WRONG: {fault}", file=sys.stderr)
    return 1 if found else 0


def print_answers(answers: Answers) -> None:
    """Print number, errors, median, 99th percentile and maximum."""
    print(f"\n{'':16} {'answers':>8} {'errors':>7} {'median':>8} {'p99':>8} {'max':>8}  ms")
    for path, values in sorted(answers.milliseconds.items()):
        wrong = len(answers.errors.get(path, []))
        median = statistics.median(values)
        print(f"{path:16} {len(values):8} {wrong:7} {median:8.1f} {answers.p99(path):8.1f} {max(values):8.1f}")


def print_memory(memory: Memory, seconds: float) -> None:
    """Print first, mean and last size, and the slope after the warm-up."""
    print(f"\n{'PSS, MiB':26} {'first':>7} {'mean':>7} {'last':>7} {'slope':>9}  after the first {WARM_UP * seconds:.0f} s")
    for process, samples in memory.samples.items():
        mean, slope, _ = memory.trend(process, WARM_UP * seconds)
        shown = [f"{size / MIB:7.1f}" for size in (samples[0][1], mean, samples[-1][1])]
        print(f"{process:26} {' '.join(shown)} {slope * 3600 / MIB:+9.1f}  MiB an hour")


def draw_memory(memory: Memory, path: Path) -> None:
    """Draw one curve per process."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    for process, samples in memory.samples.items():
        axes.plot([s for s, _ in samples], [b / MIB for _, b in samples], label=process)
    axes.set(xlabel="seconds", ylabel="proportional set size, MiB", ylim=(0, None), title="Memory under load")
    axes.legend(loc="center right")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
