"""Kill the service again and again, and check that nothing was lost, half written or forgotten.

python -m tools.torture [--kills 200] [--seed 1] [--further-workers 1] [--backbone FILE] [--folder FOLDER]

In rounds: the service gets annotations and requests for predictions of cold videos while its processes are killed by kill -9,
at random moments and at chosen ones: while a version or a chunk of features is written, while a prediction is pushed, while
tasks are fetched from Label Studio, while a webhook is being answered. Then it may finish its work, and every promise is
checked. The first broken one ends the run with exit code 1; the files on disk are kept then. A job is not killed more than four
times, because it would count as failed after the fifth.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from framewise.core.errors import FramewiseError
from framewise.core.storage import PARTIAL
from framewise.demo.backend_server import BackendServer
from framewise.foundation import QUEUE_NAME
from framewise.learning.models import load_model
from framewise.processes import start_child, stop_child
from framewise.settings import Settings
from framewise.store.database import DATABASE_NAME
from framewise.store.registry import ABOUT, WRITING
from tests.index_clips import copy_distinct, make_index_clip
from tests.label_studio_stand_in import KEY, LabelStudioStandIn
from tests.messages import Json, Project, labeling_config, region, task_of
from tests.process_tree import descendants, is_alive, web_pids, worker_pids
from tools.own_service import settings_in

LABELS = ("Walk", "Run")
CONFIG = labeling_config(
    *LABELS,
    model_trainable="true",
    model_classifier_type="lstm",  # fast, so that a run has many trainings
    model_classifier_epochs="3",
    model_score_threshold="0",
)
# Frames of the clips. The last clip has two chunks in the cache.
CLIP_LENGTHS = (24, 31, 60, 1100)
LONG = len(CLIP_LENGTHS) - 1
KILLS_A_ROUND = 6
WORKER_KILLS_A_ROUND = 4  # one fewer than framewise.store.job_state.MAX_ATTEMPTS
ROUNDS_A_PROJECT = 4  # then new projects are started: a training on few videos is fast
PROJECTS = 2
IDLE_SECONDS = 180.0
END_SECONDS = 90.0
AIM_SECONDS = 6.0  # after this time the process is killed anyway
PUSH_QUIET_SECONDS = 0.5
FILES_OF_A_VERSION = {"network.json", "version.json", "weights.safetensors"}


class Violation(Exception):
    """A broken promise of the service."""


class Victims:
    """``framewise serve`` and further workers: kills them, and restarts those that nothing else restarts."""

    def __init__(self, settings: Settings, log: Path, further_workers: int):
        self.backend = BackendServer(settings, log)
        self._settings, self._log, self._started = settings, log, False
        self._number = further_workers
        self._further: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start whatever is not running, and wait until the service answers."""
        if not (self._started and is_alive(self.backend.pid)):
            self.backend.start()
            self._started = True
        self._further = [w for w in self._further if w.poll() is None]
        while len(self._further) < self._number:
            with self._log.open("ab") as log:
                env = {**os.environ, **self._settings.to_env()}
                self._further.append(start_child([sys.executable, "-m", "framewise", "work"], env, log=log))

    def stop(self) -> None:
        self.backend.stop()
        for worker in self._further:
            stop_child(worker)

    def pids(self, target: str) -> list[int]:
        """Live processes of a target: worker and workers, web (those that answer), master, supervisor, all."""
        further = [w.pid for w in self._further if w.poll() is None]
        if target in ("worker", "workers"):
            return [*worker_pids(self.backend.pid), *further]
        if target == "supervisor":
            return [self.backend.pid]
        if target == "all":
            return [self.backend.pid, *descendants(self.backend.pid), *further]
        master, *serving = web_pids(self.backend.pid) or [0]
        return serving if target == "web" else [master] if master else []

    def aim(self, pids: list[int]) -> Callable[[], None]:
        """Prepare a ``kill -9`` of processes, to be called at the right moment without any delay. The call waits until the
        service is complete again, as far as this tool is responsible."""
        below = descendants(self.backend.pid)
        needed = {self.backend.pid, *web_pids(self.backend.pid)[:1]}  # if one of these dies, the whole service ends

        def kill() -> None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._recover(below, ended=bool(needed & set(pids)))

        return kill

    def _recover(self, below: dict[int, str], ended: bool) -> None:
        if ended:
            _wait(lambda: not is_alive(self.backend.pid), END_SECONDS, "the supervisor ends when the web master was killed")
            _wait(lambda: not any(is_alive(p) for p in below), END_SECONDS, "no process is left of a service that was killed")
        self.start()


@dataclass
class Told:
    """Messages sent to the service, and its answers."""

    events: list[str] = field(default_factory=list)  # recorded: answered with 200
    # (project, annotation) -> its results since the last answered one, oldest first. Any of them may be in the store.
    annotations: dict[tuple[str, int], list[list[Json]]] = field(default_factory=dict)
    annotated: dict[int, tuple[Project, Json]] = field(default_factory=dict)  # annotation -> its project and task
    clip_of: dict[int, int] = field(default_factory=dict)  # task -> index of its clip in CLIP_LENGTHS
    asked: dict[int, Project] = field(default_factory=dict)  # tasks with a requested prediction
    unanswered: dict[int, tuple[Project, Json]] = field(default_factory=dict)  # ... and no answer came
    promised: set[int] = field(default_factory=set)  # ... and the answer was []
    lost: int = 0  # events without an answer


class Traffic:
    """Annotations and prediction requests for new clips, one after another."""

    def __init__(self, url: str, folder: Path, rng: random.Random, told: Told, studio: LabelStudioStandIn):
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        self._folder, self._rng, self.told, self._studio = folder, rng, told, studio
        self.projects: list[Project] = []
        self.webhook_sent = threading.Event()
        self._stop = threading.Event()
        self._originals = [
            make_index_clip(folder / f"original-{n}.mp4", frames, 25, (64, 64)) for n, frames in enumerate(CLIP_LENGTHS)
        ]
        self._doings = (self.annotate, self.annotate_again, self.predict, self.press_start_training)
        self.error: Exception | None = None

    def begin_projects(self) -> None:
        """Create projects that each have a version: from then on, predictions that are not ready are promised."""
        self.projects = [Project(CONFIG) for _ in range(PROJECTS)]
        for project in self.projects:
            self._studio.projects[project.id] = project
            self._client.post("/setup", json=project.setup_body()).raise_for_status()
            self.annotate(project)

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Context with endless requests; at its end, unanswered requests are repeated."""
        self._stop.clear()
        thread = threading.Thread(target=self._flow)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self.error:
            raise self.error
        self.wait_until_up()
        for project, task in list(self.told.unanswered.values()):
            self.predict(project, task)

    def wait_until_up(self) -> None:
        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return self._client.get("/health").is_success
            return False

        _wait(answers, END_SECONDS, "the service answers /health")

    def _flow(self) -> None:
        try:
            while not self._stop.is_set():
                self.wait_until_up()
                project = self._rng.choice(self.projects)
                self._rng.choices(self._doings, (6, 4, 8, 1))[0](project)
                self._stop.wait(self._rng.uniform(0.1, 0.9))
        except Exception as error:
            self.error = error

    def annotate(self, project: Project) -> None:
        task = self._new_task(self._rng.randrange(LONG))
        self._submit(project, project.annotation_event(task, self._regions(task)))

    def annotate_again(self, project: Project) -> None:
        known = [a for a, (of, _) in self.told.annotated.items() if of is project]
        if known:
            annotation = self._rng.choice(known)
            task = self.told.annotated[annotation][1]
            regions = self._regions(task)
            self._submit(project, project.annotation_event(task, regions, "ANNOTATION_UPDATED", annotation))

    def predict(self, project: Project, task: Json | None = None) -> None:
        task = task or self._new_task(self._rng.choices(range(len(CLIP_LENGTHS)), (6, 6, 6, 1))[0])
        number = task["id"]
        self._studio.import_task(project, task)
        self.told.asked[number], self.told.unanswered[number] = project, (project, task)
        answer = self._post("/predict", project.predict_body([task]))
        if answer is not None:
            del self.told.unanswered[number]
            if answer["results"] == [[]]:
                self.told.promised.add(number)
            else:
                self._studio.keep_answer(number, answer["results"][0])

    def press_start_training(self, project: Project) -> None:
        """Start a training, which fetches all annotations, including those whose events were lost with a killed process."""
        self._send(project.event("START_TRAINING", sent=time.time()))

    def _submit(self, project: Project, event: Json) -> None:
        annotation = event["annotation"]
        states = self.told.annotations.setdefault((project.key, annotation["id"]), [])
        states.append(annotation["result"])
        self.told.annotated[annotation["id"]] = (project, event["task"])
        self._studio.annotate(project, event["task"], annotation)
        if self._send(event):
            del states[:-1]

    def _send(self, event: Json) -> bool:
        """Send a webhook; returns True if it was answered."""
        self.webhook_sent.set()
        answer = self._post("/webhook", event)
        if answer is None:
            self.told.lost += 1
            return False
        if answer.get("status") != "recorded":
            raise Violation(f"a webhook was answered {answer}")
        self.told.events.append(_canonical(event))
        return True

    def _post(self, path: str, body: Json) -> Json | None:
        """Send a request; returns the answer, None if there is none because a process was killed."""
        try:
            answer = self._client.post(path, json=body)
        except httpx.TransportError:
            return None
        if answer.status_code != 200:
            raise Violation(f"{path} was answered {answer.status_code}: {answer.text[:500]}")
        told: Json = answer.json()
        return told

    def _new_task(self, clip: int) -> Json:
        number = len(self.told.clip_of) + 1
        self.told.clip_of[number] = clip
        path = copy_distinct(self._originals[clip], self._folder / f"clip-{number}.mp4", number)
        return task_of(number, str(path))

    def _regions(self, task: Json) -> list[Json]:
        frames = CLIP_LENGTHS[self.told.clip_of[task["id"]]]
        start = self._rng.randint(1, frames - 5)
        return [region(self._rng.choice(LABELS), (start, self._rng.randint(start, frames)))]


class Killer:
    """Choice of targets and moments for kills."""

    # (target, moment, weight)
    PLANS = (
        ("worker", "any time", 6), ("workers", "any time", 4),
        ("worker", "a version is written", 4), ("workers", "a version is written", 7),
        ("workers", "features are written", 7),
        ("workers", "a prediction arrives", 7), ("workers", "a prediction is stored", 6), ("workers", "tasks are listed", 4),
        ("web", "a webhook is sent", 20), ("web", "any time", 8),
        ("master", "a webhook is sent", 4), ("master", "any time", 3),
        ("supervisor", "any time", 5), ("supervisor", "a version is written", 3),
        ("all", "any time", 3), ("all", "a webhook is sent", 4), ("all", "a version is written", 3),
        ("all", "a prediction arrives", 3),
    )  # fmt: skip

    def __init__(self, victims: Victims, traffic: Traffic, studio: LabelStudioStandIn, rng: random.Random):
        self._victims, self._traffic, self._studio, self._rng = victims, traffic, studio, rng
        self._settings = victims.backend.settings
        self.done: collections.Counter[tuple[str, str, str]] = collections.Counter()  # target, moment, whether it was met

    def round(self, kills: int, on_kill: Callable[[], object]) -> None:
        """Do this number of kills, of which only a few hit workers."""
        ending = 0
        for _ in range(kills):
            plans = [p for p in self.PLANS if p[0] == "web" or ending < WORKER_KILLS_A_ROUND]
            target, moment, _ = self._rng.choices(plans, [weight for *_, weight in plans])[0]
            ending += target != "web"
            self._kill(target, moment)
            on_kill()

    def _kill(self, target: str, moment: str) -> None:
        found: list[int] = _wait(lambda: self._victims.pids(target), END_SECONDS, f"there is a process to kill: {target}")
        kill = self._victims.aim([self._rng.choice(found)] if target == "worker" else found)
        met = self._await(moment)
        kill()
        self.done[target, moment, "" if met else " (missed)"] += 1

    def _await(self, moment: str) -> bool:
        """Wait for a moment, plus a tiny random delay; False if it does not come."""
        events = {
            "a webhook is sent": self._traffic.webhook_sent,
            "a prediction arrives": self._studio.arrived,
            "a prediction is stored": self._studio.stored,
            "tasks are listed": self._studio.listed,
        }
        if moment == "any time":
            time.sleep(self._rng.uniform(0, 3))
            return True
        if moment in events:
            events[moment].clear()
            met = events[moment].wait(AIM_SECONDS)
        else:
            met = self._await_writing(moment)
        time.sleep(self._rng.choice((0, 0, self._rng.uniform(0, 0.005), self._rng.uniform(0, 0.03))))
        return met

    def _await_writing(self, moment: str) -> bool:
        """Wait until a folder appears below models or the cache: its files are written within milliseconds."""
        if moment == "a version is written":
            folders = [p for p in self._settings.model_root.glob("timelinelabels-*") if p.is_dir()]
        else:
            folders = [p for p in self._settings.cache_dir.rglob("features_chunk") if p.is_dir()]
        before = {f: f.stat().st_mtime_ns for f in folders}
        end = time.monotonic() + AIM_SECONDS
        while time.monotonic() < end:
            if any(f.stat().st_mtime_ns != at for f, at in before.items()):
                return True
            time.sleep(0.001)
        return False


class Checker:
    """Checks of all promises of the service when it is idle."""

    def __init__(self, settings: Settings, url: str, told: Told, studio: LabelStudioStandIn):
        self._settings, self._url, self._told, self._studio = settings, url, told, studio
        self._known_hashes: dict[tuple[Path, int], str] = {}
        self.undisturbed: dict[int, collections.Counter[str]] = {}  # clip -> the hashes of its arrays

    def wait_idle(self) -> None:
        """Wait until no job is waiting or running, and no promise is left. A promise is removed only when its push is a job."""

        def idle() -> bool:
            promised, waiting = self._rows("SELECT (SELECT count(*) FROM promised_predictions), count(*) FROM jobs "
                                           "WHERE state IN ('pending', 'running')")[0]  # fmt: skip
            return not promised and not waiting

        _wait(idle, IDLE_SECONDS, "no job waits or runs")

    def note_undisturbed(self, traffic: Traffic) -> None:
        """Extract each clip undisturbed, and remember the results."""
        project = traffic.projects[0]
        before = self._arrays()
        for clip in range(len(CLIP_LENGTHS)):
            traffic.predict(project, traffic._new_task(clip))
            self.wait_idle()
            after = self._arrays()
            self.undisturbed[clip] = after - before
            before = after

    def check(self) -> None:
        """Check all promises. Raises Violation."""
        checks = (
            self._databases, self._jobs, self._events, self._annotations, self._versions, self._features, self._pushes,
            self._answers,
        )  # fmt: skip
        for check in checks:
            check()

    def _databases(self) -> None:
        for name in (DATABASE_NAME, QUEUE_NAME):
            with contextlib.closing(sqlite3.connect(self._settings.data_dir / name, timeout=30)) as connection:
                found = connection.execute("PRAGMA integrity_check").fetchone()[0]
            _demand(found == "ok", f"{name}: integrity_check says {found}")

    def _jobs(self) -> None:
        for row in self._rows("SELECT * FROM jobs"):
            fine = row["state"] in ("done", "superseded")  # superseded by another job in this table
            _demand(fine and row["warnings"] == "[]", f"a job did not end well: {dict(row)}")

    def _events(self) -> None:
        stored = collections.Counter(_canonical(json.loads(r["payload"])) for r in self._rows("SELECT payload FROM events"))
        for event in self._told.events:
            _demand(stored[event] == 1, f"an event that was answered 'recorded' is stored {stored[event]} times: {event}")

    def _annotations(self) -> None:
        stored = {(r["project"], r["id"]): json.loads(r["result"]) for r in self._rows("SELECT * FROM annotations")}
        recorded = {
            (e["project"]["id"], e["annotation"]["id"]) for e in map(json.loads, self._told.events) if "annotation" in e
        }
        for (project, number), states in self._told.annotations.items():
            if (project, number) not in stored:
                missing = (int(project.split(".")[0]), number) in recorded
                _demand(not missing, f"annotation {number} of project {project} was recorded and is not in the store")
                continue
            found = stored[project, number]
            _demand(found in states, f"annotation {number} of project {project} is {found}, and {states} was sent")

    def _versions(self) -> None:
        for folder in self._settings.model_root.glob("timelinelabels-*/*"):
            if not folder.name.startswith(WRITING):
                files = {path.name for path in folder.iterdir()}
                _demand(files == FILES_OF_A_VERSION, f"version {folder} has the files {sorted(files)}")
                _demand(json.loads((folder / ABOUT).read_text())["version"] == folder.name, f"{folder} is another version")
                load_model(folder)
        for row in self._rows("SELECT project, control, version FROM current_versions"):
            self._is_up_to_date(*row)

    def _is_up_to_date(self, project: str, control: str, version: str) -> None:
        folder = self._settings.model_root / f"timelinelabels-{project}-{control}" / version
        about = json.loads((folder / ABOUT).read_text())
        last = self._rows(
            "SELECT started, result FROM jobs WHERE kind IN ('train', 'refine') AND project = ? AND state = 'done' "
            "AND json_extract(result, '$.version') IS NOT NULL ORDER BY finished DESC LIMIT 1",
            project,
        )[0]
        told = self._rows("SELECT max(received), count(DISTINCT task) FROM annotations WHERE project = ?", project)[0]
        _demand(about["videos"] == told[1], f"{folder} learned from {about['videos']} videos, and {told[1]} are annotated")
        _demand(last["started"] >= told[0], f"project {project}: an annotation came after the last training began")
        _demand(
            json.loads(last["result"])["version"] == version, f"{folder} is in use, the last training made {last['result']}"
        )

    def _features(self) -> None:
        """Check that the cache has the undisturbed features of every video that was learned from or requested."""
        tasks = {r["task"] for r in self._rows("SELECT DISTINCT task FROM annotations")} | self._told.asked.keys()
        expected: collections.Counter[str] = collections.Counter()
        for task in tasks:
            expected += self.undisturbed[self._told.clip_of[task]]
        found = self._arrays()
        _demand(
            found == expected, f"the cache lacks arrays {expected - found} and has {found - expected} beside the right ones"
        )

    def _pushes(self) -> None:
        """Check that every task without annotations has exactly one prediction, of the version in use."""
        in_use = {r["project"]: r["version"] for r in self._rows("SELECT project, version FROM current_versions")}
        for task, project in self._told.asked.items():
            versions, current = self._studio.versions_of(task), in_use[project.key]
            if task in self._studio.excused:
                _demand(current in versions, f"task {task} has predictions of {versions}, and {current} is in use")
            else:
                _demand(versions == [current], f"task {task} has predictions of {versions}, expected one of {current}")

    def _answers(self) -> None:
        # Only for annotations in the store: a request for the video of a lost one would extract it.
        stored = {r["task"] for r in self._rows("SELECT DISTINCT task FROM annotations")}
        known = [(project, task) for project, task in self._told.annotated.values() if task["id"] in stored]
        for project, task in known[-PROJECTS:]:
            current = self._rows("SELECT version FROM current_versions WHERE project = ?", project.key)[0]["version"]
            with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as client:
                setup = client.post("/setup", json=project.setup_body()).raise_for_status().json()
                answer = client.post("/predict", json=project.predict_body([task])).raise_for_status().json()["results"][0]
            _demand(setup["model_version"] == current, f"/setup says {setup}, and {current} is in use")
            _demand(answer and answer["model_version"] == current, f"/predict of a cached video answers {answer}")

    def _arrays(self) -> collections.Counter[str]:
        """SHA-256 of every array in the cache, without partial files of killed processes."""
        whole = (path for path in self._settings.cache_dir.rglob("*.npy") if not path.name.startswith(PARTIAL))
        return collections.Counter(self._hash(path) for path in whole)

    def _hash(self, path: Path) -> str:
        key = (path, path.stat().st_ctime_ns)
        if key not in self._known_hashes:
            self._known_hashes[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._known_hashes[key]

    def _rows(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        with contextlib.closing(sqlite3.connect(self._settings.data_dir / DATABASE_NAME, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, parameters).fetchall()


def main() -> int:
    """Run; returns 0 if no promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of kills (default 200)")
    parser.add_argument("--seed", type=int, help="random seed of actions and moments; random by default")
    parser.add_argument("--further-workers", type=int, default=1, help="in addition to the one of framewise serve (default 1)")
    parser.add_argument("--backbone", type=Path, metavar="FILE", help="checkpoint in place of EfficientNet-Lite0")
    parser.add_argument("--folder", type=Path, help="folder for all files, which is kept (default: a new one, kept on failure)")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(10**6)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="framewise-torture-"))
    print(f"seed {seed}; everything is in {folder}", flush=True)
    try:
        torture(folder, args.kills, seed, args.further_workers, args.backbone)
    except (Violation, FramewiseError, httpx.HTTPError) as error:
        print(f"\nVIOLATED: {error}\nSee {folder}; seed {seed}", file=sys.stderr)
        return 1
    if args.folder is None:
        shutil.rmtree(folder)
    return 0


def torture(folder: Path, kills: int, seed: int, further_workers: int, checkpoint: Path | None) -> None:
    """Do the whole run. checkpoint: the backbone, EfficientNet-Lite0 if None. Raises Violation."""
    rng = random.Random(seed)
    studio, told = LabelStudioStandIn(), Told()
    settings = _settings(folder, studio.url, checkpoint)
    victims = Victims(settings, folder / "log.txt", further_workers)
    checker = Checker(settings, victims.backend.url, told, studio)
    settings.local_files_roots[0].mkdir(parents=True, exist_ok=True)
    traffic = Traffic(victims.backend.url, settings.local_files_roots[0], rng, told, studio)
    killer = Killer(victims, traffic, studio, random.Random(seed + 1))
    rounds = 0
    try:
        victims.start()
        with tqdm(total=kills, unit="kill") as bar:
            while bar.n < kills:
                if rounds % ROUNDS_A_PROJECT == 0:
                    traffic.begin_projects()
                    checker.wait_idle()
                if rounds == 0:
                    checker.note_undisturbed(traffic)
                with traffic.flowing():
                    killer.round(min(KILLS_A_ROUND, kills - int(bar.n)), bar.update)
                checker.wait_idle()
                checker.check()
                rounds += 1
        _print_summary(killer, told, studio, checker, rounds)
    finally:
        victims.stop()
        studio.shutdown()


def _settings(folder: Path, studio: str, checkpoint: Path | None) -> Settings:
    return settings_in(
        folder,
        checkpoint,
        label_studio_url=studio,
        label_studio_api_key=KEY,
        predict_wait_seconds=0,
        push_quiet_seconds=PUSH_QUIET_SECONDS,
    )


def _print_summary(killer: Killer, told: Told, studio: LabelStudioStandIn, checker: Checker, rounds: int) -> None:
    print(f"\n{'kills':>5}  {'of':12} when")
    for (target, moment, missed), count in sorted(killer.done.items()):
        print(f"{count:5}  {target:12} {moment}{missed}")
    jobs = {(k, s): n for k, s, n in checker._rows("SELECT kind, state, count(*) FROM jobs GROUP BY kind, state")}
    again = checker._rows("SELECT count(*) FROM jobs WHERE attempts > 1")[0][0]
    print(f"\n{sum(killer.done.values())} kills in {rounds} rounds, after each of which everything was as promised:")
    print(f"events recorded {len(told.events)}, without an answer {told.lost}")
    print(f"predictions asked for {len(told.asked)}, promised {len(told.promised)}, pushed {len(studio.predictions)}", end="")
    print(f", possibly twice {len(studio.excused)}")
    print("jobs: " + ", ".join(f"{kind} {state} {n}" for (kind, state), n in sorted(jobs.items())) + f"; begun again {again}")


def _canonical(event: Any) -> str:
    return json.dumps(event, sort_keys=True)


def _demand(condition: object, otherwise: str) -> None:
    if not condition:
        raise Violation(otherwise)


def _wait(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for a true value of ``condition`` and return it. Raises Violation that says what did not happen."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        _demand(time.monotonic() < end, f"not within {seconds:g} s: {what}")
        time.sleep(0.05)
    return found


if __name__ == "__main__":
    sys.exit(main())
