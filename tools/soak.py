"""Let a project grow for an hour on a bad day, and measure whether anything grows faster than the project does.

python -m tools.soak [--minutes 60] [--tasks 2000] [--annotated 500] [--clients 20] [--seed 5]
                     [--backbone FILE] [--folder FOLDER]

Users of a stand-in for Label Studio import tasks, annotate, annotate again and request predictions, all along the run.
Meanwhile the worker is killed, Label Studio is away, and the clock jumps by an hour or two (SKIP_COMPILER=1: it does not).
Prints a table by tenths of the run. Exit code 1 if a request failed, if at the end an annotation is not learned, a job failed
or a table is not bounded, or if anything grew faster than the project. Times are judged only if other programs left the
machine alone.
"""

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from framewise.core.regions import write_region
from framewise.core.tables import table_lines
from framewise.demo.backend_server import BackendServer
from framewise.settings import Settings
from framewise.store.annotations import KEPT_EVENTS
from framewise.store.database import DATABASE_NAME
from framewise.store.job_state import KEPT_FAILURES, KEPT_JOBS
from framewise.store.pushed import NEWEST_VERSIONS
from framewise.store.registry import ABOUT
from tests.index_clips import copy_distinct, write_clip
from tests.label_studio_stand_in import KEY, LabelStudioStandIn
from tests.messages import Json, Project, labeling_config, task_of
from tests.process_tree import cpu_seconds, descendants, memory_bytes, worker_pids
from tools.load import Answers, report_faults
from tools.own_service import settings_in

LABELS = {"Walk": (220, 60, 50), "Run": (50, 70, 220)}  # with the colours that show them
CONFIG = labeling_config(*LABELS, model_trainable="true")
CLIPS, CLIP_FRAMES, CLIP_SIDE = 16, 30, 96
IMPORTED_AT_ONCE = 20
PAUSE_SECONDS = (0.5, 1.5)  # between two requests of a client
SAMPLE_SECONDS = 2.0
IDLE_SECONDS = 3600.0  # videos of new tasks may be left to extract
TENTHS = 10
MIDDLE, LAST = slice(3, 6), slice(7, 10)  # thirds of the run that are compared, in tenths
TOLERANCE = 1.25  # of a ratio: the machine does other things too
FEW_ROWS = 60
QUIET_SHARE = 0.1  # of the processors: if other programs use more, times show how busy they are
KILLS, ABSENCES, JUMPS = 12, 4, 6
KILL_SECONDS = 20.0  # at least between two: a worker needs some to start
AWAY = 0.02  # of the run
OFFSETS = (3600.0, -3600.0, 0.0)  # of the clock, in seconds, in turn
CLOCK_SOURCE = Path(__file__).with_name("moved_clock.c")
MIB = 2**20


@dataclass
class Clip:
    path: Path
    regions: list[Json]


class Clock:
    """The clock of processes that are started with ``environment``."""

    def __init__(self, folder: Path):
        self._file, library = folder / "clock", folder / "moved_clock.so"
        self._file.write_bytes(struct.pack("d", 0.0))
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(CLOCK_SOURCE)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(self._file)}

    def move(self, seconds: float) -> None:
        """Set it to the true time and these seconds."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("d", seconds))


class Growth:
    """The next step of a project that grows evenly to its full size."""

    def __init__(self, tasks: int, annotated: int, rng: random.Random):
        self._wanted, self._rng, self._lock = (tasks, annotated), rng, threading.Lock()
        self.imported, self.annotated, self.again = 0, list[int](), 0
        self.share = 0.0

    def next(self) -> tuple[str, list[int]] | None:
        """The next step if one is due: an import of tasks, an annotation, or another one of a task that has one."""
        tasks, annotated = (round(self.share * wanted) for wanted in self._wanted)
        with self._lock:
            if self.imported < tasks:
                first = self.imported + 1
                self.imported = min(self.imported + IMPORTED_AT_ONCE, self._wanted[0])
                return "import", list(range(first, self.imported + 1))
            if len(self.annotated) < annotated:
                task = self._rng.choice(sorted(set(range(1, self.imported + 1)) - set(self.annotated)))
                self.annotated.append(task)
                return "annotate", [task]
            if self.again < annotated - 1:
                self.again += 1
                return "annotate", [self._rng.choice(self.annotated)]
        return None


class Users:
    """Users of Label Studio, who let the project grow and look at it."""

    def __init__(self, settings: Settings, studio: LabelStudioStandIn, clips: Sequence[Clip], growth: Growth, seed: int):
        self._settings, self._studio, self._clips, self._growth, self._seed = settings, studio, clips, growth, seed
        self.project = Project(CONFIG)
        studio.projects[self.project.id] = self.project
        self.answers = Answers()
        self.submits = 0
        self._stop = threading.Event()

    @contextlib.contextmanager
    def at_work(self, number: int) -> Iterator[None]:
        """Context with this number of users."""
        threads = [threading.Thread(target=self._user, args=(random.Random(f"{self._seed} {n}"),)) for n in range(number)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def finish(self) -> None:
        """Do what is left of the growth."""
        while self._grow():
            pass

    def _user(self, rng: random.Random) -> None:
        while not self._stop.wait(rng.uniform(*PAUSE_SECONDS)):
            if not self._grow():
                rng.choices((self.setup, self._health, lambda: self._look(rng)), (2, 2, 6))[0]()

    def _grow(self) -> bool:
        step = self._growth.next()
        if step:
            {"import": self._import, "annotate": self._annotate}[step[0]](step[1])
        return step is not None

    def setup(self) -> Json | None:
        return self._ask("/setup", "POST", "/setup", self.project.setup_body())

    def _health(self) -> None:
        self._ask("/health", "GET", "/health", None)

    def _look(self, rng: random.Random) -> None:
        if self._growth.annotated:
            self.predict(rng.choice(self._growth.annotated))

    def predict(self, task: int) -> Json | None:
        """Request the prediction of a task that is annotated, so that its features are known by and by."""
        return self._ask("/predict", "POST", "/predict", self.project.predict_body([self._task(task)]))

    def _import(self, tasks: Sequence[int]) -> None:
        for number in tasks:
            self._studio.import_task(self.project, self._task(number))
        event = self.project.event("TASKS_CREATED", tasks=[self._task(number) for number in tasks])
        self._ask("/webhook import", "POST", "/webhook", event)

    def _annotate(self, tasks: Sequence[int]) -> None:
        (number,) = tasks
        event = self.project.annotation_event(self._task(number), self._clip(number).regions, annotation=number)
        self._studio.annotate(self.project, self._task(number), event["annotation"])
        self._ask("/webhook", "POST", "/webhook", event)
        self.submits += 1

    def _task(self, number: int) -> Json:
        path = self._settings.local_files_roots[0] / f"task-{number}.mp4"
        if not path.exists():
            copy_distinct(self._clip(number).path, path, number)
        return task_of(number, str(path))

    def _clip(self, number: int) -> Clip:
        return self._clips[number % len(self._clips)]

    def _ask(self, name: str, method: str, path: str, body: Json | None) -> Json | None:
        return self.answers.ask(self._settings, name, method, path, body)


@dataclass
class Tenth:
    """Measurements of a tenth of the run; sizes at its end."""

    tasks: int
    annotated: int
    submits: int
    memory: float  # mean of all processes together, in bytes
    disk: dict[str, int]
    median: dict[str, float]
    p95: dict[str, float]
    cpu_seconds: float
    training_seconds: float
    rows: dict[str, int]
    others: float = 0.0  # processors that other programs used
    failed: int = 0

    def times(self) -> dict[str, float]:
        """Times that must not grow faster than the project, on a quiet machine."""
        answers = {f"median time of {path}": self.median[path] for path in ("/webhook", "/predict") if path in self.median}
        return {**answers, "time of a training": self.training_seconds}

    def quantities(self) -> dict[str, float]:
        """Other quantities that must not grow faster than the project."""
        return {
            "memory": self.memory,
            **{f"disk of {name}": float(size) for name, size in self.disk.items()},
            "processor time of a submit": self.cpu_seconds / max(self.submits, 1),
            **{f"rows of {table}": float(number) for table, number in self.rows.items()},
        }


@dataclass
class Meter:
    """Memory and processor time of a service's processes, sampled."""

    supervisor: int
    memory: list[float] = field(default_factory=list)
    _cpu: dict[int, float] = field(default_factory=dict)  # by process, also of those that ended
    _machine: tuple[float, float] = field(init=False)  # time, and processor time of other programs until then

    def __post_init__(self) -> None:
        self.sample()
        self._machine = time.monotonic(), _busy_seconds() - self.cpu() - time.process_time()

    def sample(self) -> None:
        total = 0.0
        for pid in (self.supervisor, *descendants(self.supervisor)):
            with contextlib.suppress(OSError):  # it ended meanwhile
                self._cpu[pid] = cpu_seconds(pid)
                total += memory_bytes(pid)
        self.memory.append(total)

    def cpu(self) -> float:
        return sum(self._cpu.values())

    def others(self) -> float:
        """Processors used by other programs since the last call, on average."""
        before, self._machine = self._machine, (time.monotonic(), _busy_seconds() - self.cpu() - time.process_time())
        return max(0.0, (self._machine[1] - before[1]) / max(self._machine[0] - before[0], 1e-9))


class Soak:
    """The run. minutes: of the growth."""

    def __init__(self, folder: Path, args: argparse.Namespace):
        self._folder, self._args, rng = folder, args, random.Random(args.seed)
        self._studio = LabelStudioStandIn(seconds=0.005, page_size=100)
        self._clock = None if os.environ.get("SKIP_COMPILER") == "1" else Clock(folder)
        self.settings = settings_in(
            folder,
            args.backbone,
            label_studio_url=self._studio.url,
            label_studio_api_key=KEY,
            push_quiet_seconds=args.quiet,
            push_max_tasks=20,
            predict_wait_seconds=0,  # else a request for a video that is being extracted takes as long as that
        )
        self.settings.local_files_roots[0].mkdir()
        clips = [make_clip(folder / f"clip-{n}.mp4", random.Random(f"{args.seed} {n}")) for n in range(CLIPS)]
        self._growth = Growth(args.tasks, args.annotated, rng)
        self.users = Users(self.settings, self._studio, clips, self._growth, args.seed)
        self.tenths: list[Tenth] = []
        self._trained: set[int] = set()

    def run(self) -> list[str]:
        """Run; returns the faults."""
        os.environ.update(self._clock.environment if self._clock else {})  # for children alone
        with BackendServer(self.settings, self._folder / "log") as backend:
            self.users.setup()
            self._backend, self._meter = backend, Meter(backend.pid)
            with self.users.at_work(self._args.clients):
                self._grow(60 * self._args.minutes)
            self.users.finish()
            faults = self._await_idle() or self._broken_promises()
        self._studio.shutdown()
        failed = self.users.answers.errors.items()
        return [f"{path}: {len(errors)} requests failed; the first: {errors[0]}" for path, errors in failed] + faults

    def _grow(self, seconds: float) -> None:
        troubles, began, seen = self._troubles(), time.monotonic(), 0.0
        form = "{l_bar}{bar}| {n:.0f}/{total:.0f} s"
        with tqdm(total=seconds, desc="soak", bar_format=form, mininterval=2) as bar:
            while self._growth.share < 1:
                here = time.monotonic() - began
                bar.update(min(here, seconds) - bar.n)
                self._growth.share = min(here / seconds, 1.0)
                while troubles and troubles[0][0] <= self._growth.share:
                    troubles.pop(0)[1]()
                self._meter.sample()
                if self._growth.share >= (len(self.tenths) + 1) / TENTHS:
                    seen = self._end_tenth(seen)
                time.sleep(SAMPLE_SECONDS if seconds > 10 * TENTHS * SAMPLE_SECONDS else 0.1)

    def _troubles(self) -> list[tuple[float, Callable[[], object]]]:
        """(share of the run, trouble), in order; at its end everything is there."""
        kills = min(KILLS, int(60 * self._args.minutes / KILL_SECONDS))
        found: list[tuple[float, Callable[[], object]]] = [((n + 0.7) / kills, self._kill_worker) for n in range(kills)]
        for n in range(ABSENCES):
            begin = (n + 0.5) / ABSENCES
            found += [(begin, self._studio.leave), (begin + AWAY, self._studio.come_back)]
        if self._clock:
            found += [((n + 0.3) / JUMPS, partial(self._clock.move, OFFSETS[n % len(OFFSETS)])) for n in range(JUMPS)]
        return sorted(found, key=lambda one: one[0])

    def _kill_worker(self) -> None:
        for pid in worker_pids(self._backend.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _end_tenth(self, cpu_before: float) -> float:
        """Note a tenth of the run; returns the processor time until now."""
        answers, self.users.answers = self.users.answers, Answers(errors=self.users.answers.errors)
        times = {path: found for path, found in answers.milliseconds.items() if len(found) > 1}
        cpu, submits = self._meter.cpu(), self.users.submits
        trained = self._rows("SELECT id, finished - started AS seconds FROM jobs WHERE kind = 'train' AND state = 'done'")
        seconds = [row["seconds"] for row in trained if row["id"] not in self._trained]
        self._trained |= {row["id"] for row in trained}
        self.tenths.append(
            Tenth(
                self._growth.imported,
                len(self._growth.annotated),
                submits - sum(tenth.submits for tenth in self.tenths),
                statistics.fmean(self._meter.memory),
                self.disk(),
                {path: statistics.median(found) for path, found in times.items()},
                {path: statistics.quantiles(found, n=20)[-1] for path, found in times.items()},
                cpu - cpu_before,
                statistics.median(seconds or [math.nan]),
                self.rows(),
                self._meter.others(),
                sum(map(len, answers.errors.values())),
            )
        )
        self._meter.memory.clear()
        return cpu

    # What is on the disk.

    def disk(self) -> dict[str, int]:
        """Bytes on the disk, by folder."""
        folders = {
            "DATA_DIR": self.settings.data_dir,
            "CACHE_DIR": self.settings.cache_dir,
            "MODEL_ROOT": self.settings.model_root,
        }
        return {name: _size(folder) for name, folder in folders.items()}

    def rows(self) -> dict[str, int]:
        """Number of rows by table."""
        tables = [row["name"] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {t: self._rows(f"SELECT count(*) AS n FROM {t}")[0]["n"] for t in tables if not t.startswith("sqlite_")}

    def _rows(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        with contextlib.closing(sqlite3.connect(self.settings.data_dir / DATABASE_NAME, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, parameters).fetchall()

    # At the end.

    def _await_idle(self) -> list[str]:
        """Wait until nothing is left to do; returns what is not done in time."""
        end = time.monotonic() + IDLE_SECONDS
        while time.monotonic() < end:
            shown = self._backend.jobs()
            if not (shown["pending"] or shown["running"] or shown["scheduled"]):
                return []
            time.sleep(0.5)
        left = [job for job in shown["jobs"] if job["state"] not in ("done", "superseded", "failed")]
        return [f"not done within {IDLE_SECONDS:g} s: {left[:5]}"]

    def _broken_promises(self) -> list[str]:
        rows, found = self.rows(), list[str]()

        def demand(condition: object, otherwise: str) -> None:
            if not condition:
                found.append(otherwise)

        tasks, annotated = self._growth.imported, len(self._growth.annotated)
        demand(rows["annotations"] == annotated, f"{annotated} annotations were recorded, {rows['annotations']} are stored")
        limits = {
            "projects": 1, "tasks": tasks, "made_predictions": tasks, "arriving_predictions": tasks, "media_facts": tasks,
            "current_versions": 1, "promised_predictions": 0, "told_versions": NEWEST_VERSIONS, "label_sets": 1,
            "events": KEPT_EVENTS, "jobs": KEPT_JOBS + KEPT_FAILURES, "forgotten_projects": 0, "annotations": annotated,
            "suggestions": 0,
        }  # fmt: skip
        for table, number in rows.items():
            demand(table in limits, f"the table {table} has no limit here")
            demand(
                number <= limits.get(table, number),
                f"the table {table} has {number} rows, at most {limits.get(table)} are needed",
            )
        for job in self._rows("SELECT * FROM jobs WHERE state NOT IN ('done', 'superseded')"):
            found.append(f"a job did not end well: {dict(job)}")
        version = (self.users.setup() or {}).get("model_version")
        folders = [path for path in self.settings.model_root.glob("timelinelabels-*/*") if not path.name.startswith(".")]
        demand(len(folders) <= self.settings.keep_versions + 1, f"{len(folders)} versions are kept")
        about: Json = next((json.loads((path / ABOUT).read_text()) for path in folders if path.name == version), {})
        demand(about.get("videos") == annotated, f"{version} learned {about.get('videos')} of {annotated} annotated tasks")
        for task in self._growth.annotated[-3:]:
            answer = (self.users.predict(task) or {"results": [None]})["results"][0]
            demand(
                answer and answer["model_version"] == version, f"task {task}: expected a prediction of {version}, got {answer}"
            )
        workers = list((self.settings.data_dir / "workers").iterdir())
        demand(len(workers) <= 2, f"{len(workers)} workers have a file, one lives")
        return found


def make_clip(path: Path, rng: random.Random) -> Clip:
    """A clip of about a second in which a square of each label's colour is seen for a while, and its regions."""
    noise = np.random.default_rng(rng.randrange(2**32))
    pictures = noise.integers(90, 130, (CLIP_FRAMES, CLIP_SIDE, CLIP_SIDE, 3), dtype=np.uint8)
    regions = []
    for label, colour in LABELS.items():
        start = rng.randrange(CLIP_FRAMES // 2)
        stop = start + rng.randrange(8, CLIP_FRAMES // 2)
        x, y = rng.randrange(CLIP_SIDE // 2), rng.randrange(CLIP_SIDE // 2)
        pictures[start:stop, y : y + CLIP_SIDE // 2, x : x + CLIP_SIDE // 2] = colour
        regions.append({**write_region([label], start + 1, stop, "tl", "clip"), "origin": "manual"})
    write_clip(path, iter(pictures), Fraction(25), (CLIP_SIDE, CLIP_SIDE))
    return Clip(path, regions)


def _busy_seconds() -> float:
    """Processor time of all programs of this machine."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def is_quiet(tenths: Sequence[Tenth]) -> bool:
    """True if other programs left the machine alone."""
    return max(tenth.others for tenth in tenths) < QUIET_SHARE * (os.cpu_count() or 1)


def grown(tenths: Sequence[Tenth]) -> list[str]:
    """Quantities whose ratio, of the last third of the run to the middle one, is greater than that of the annotated tasks."""
    found = []
    project = sum(t.annotated for t in tenths[LAST]) / sum(t.annotated for t in tenths[MIDDLE])
    judged = [t.quantities() | (t.times() if is_quiet(tenths) else {}) for t in tenths]
    for name in judged[-1]:
        before, after = (_mean([one.get(name, 0.0) for one in judged[third]]) for third in (MIDDLE, LAST))
        if after > max(before * project * TOLERANCE, FEW_ROWS * name.startswith("rows")):
            found.append(f"{name}: {before:.4g} grew to {after:.4g}, by more than the project's {project:.2f}")
    return found


def _mean(values: Sequence[float]) -> float:
    """Mean of the numbers among values, NaN if there are none: of a tenth without a training there is no time of one."""
    found = [value for value in values if not math.isnan(value)]
    return statistics.fmean(found) if found else math.nan


def table(tenths: Sequence[Tenth]) -> str:
    """The run by tenths."""
    head = ["tasks", "annotated", "memory, MiB", *(f"{name}, MiB" for name in tenths[0].disk), "/webhook, ms", "/predict, ms"]
    head += ["CPU s a submit", "training, s", "others, CPUs", "failed"]

    def times(tenth: Tenth, path: str) -> str:
        return f"{tenth.median[path]:.0f}, {tenth.p95[path]:.0f}" if path in tenth.median else "-"

    rows = [
        [
            str(t.tasks), str(t.annotated), f"{t.memory / MIB:.0f}", *(f"{size / MIB:.1f}" for size in t.disk.values()),
            times(t, "/webhook"), times(t, "/predict"), f"{t.cpu_seconds / max(t.submits, 1):.1f}", f"{t.training_seconds:.1f}",
            f"{t.others:.1f}", str(t.failed),
        ]
        for t in tenths
    ]  # fmt: skip
    return "\n".join(table_lines([head, *rows]))


def rows_table(tenths: Sequence[Tenth]) -> str:
    """Rows of the tables of the database, by tenths."""
    names: Mapping[str, int] = {name: number for name, number in tenths[-1].rows.items() if number}
    return "\n".join(table_lines([list(names), *([str(t.rows.get(name, 0)) for name in names] for t in tenths)]))


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_blocks * 512
    return total


def main() -> int:
    """Run and print; returns 0 without faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="duration of the growth (default 60)")
    parser.add_argument("--tasks", type=int, default=2000, help="tasks at the end (default 2000)")
    parser.add_argument("--annotated", type=int, default=500, help="annotated tasks at the end (default 500)")
    parser.add_argument("--clients", type=int, default=20, help="number of simultaneous users (default 20)")
    parser.add_argument("--quiet", type=float, default=2.0, help="PUSH_QUIET_SECONDS (default 2)")
    parser.add_argument("--seed", type=int, default=5, help="random seed")
    parser.add_argument("--backbone", type=Path, metavar="FILE", help="checkpoint in place of EfficientNet-Lite0")
    parser.add_argument("--no-growth", action="store_true", help="do not judge growth: a run of seconds shows none")
    parser.add_argument("--folder", type=Path, help="folder for all files, which is kept (default: a new one, kept on failure)")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="framewise-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    soak = Soak(folder, args)
    faults = soak.run()
    print(f"\n{table(soak.tenths)}\n\n{rows_table(soak.tenths)}")
    if not args.no_growth:
        faults += grown(soak.tenths)
        if not is_quiet(soak.tenths):
            print("\nOther programs used the machine: times are not judged.")
    if args.folder is None and not faults:
        shutil.rmtree(folder)
    return report_faults([*faults, *([f"everything is in {folder}"] if faults else [])])


if __name__ == "__main__":
    sys.exit(main())
