"""``framewise demo``: real Label Studio, real backend, clips with known truth, and predictions for unseen ones with scores."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tqdm import tqdm

from framewise.core.converter import regions_to_frame_labels
from framewise.core.errors import FramewiseError
from framewise.core.metrics import frame_f1
from framewise.core.regions import read_regions, write_region
from framewise.demo.backend_server import BackendServer, free_port
from framewise.demo.clips import ClipTruth, render_clips
from framewise.demo.label_studio_server import LabelStudioApi, LabelStudioServer
from framewise.demo.report import PredictedClip, draw_timelines, print_timelines
from framewise.features.kinds.lite0 import LITE0
from framewise.settings import Settings

LABEL_CONFIG = """<View>
  <TimelineLabels name="timeline" toName="video" model_trainable="true">
    <Label value="Ball touch" background="red"/>
    <Label value="Ball in frame" background="blue"/>
  </TimelineLabels>
  <Video name="video" value="$video" frameRate="25.0" height="500" timelineHeight="120"/>
</View>"""
LABELS = ["Ball touch", "Ball in frame"]
CLIPS, ANNOTATED = 12, 6
CLIP_SEED = 7
GOOD_F1 = 0.8
WAIT_SECONDS = 600.0
POLL_SECONDS = 0.3


def run_demo(label_studio: Path, folder: Path, exit_after: bool) -> int:
    """Run the demo; returns 0 if the mean frame F1 on the unseen clips is at least GOOD_F1. Ctrl-C ends all processes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = folder.resolve()
    try:
        with ExitStack() as stack:
            return _run(stack, label_studio, root, exit_after)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130


@dataclass(frozen=True)
class Demo:
    """State of a running demo. tasks: of the clips; the first ANNOTATED are learned from. backend: address of framewise."""

    server: LabelStudioServer
    api: LabelStudioApi
    backend: str
    project: int
    tasks: list[dict[str, Any]]
    clips: list[ClipTruth]
    outcomes: list[PredictedClip]


def prepare(stack: ExitStack, executable: Path, root: Path) -> Demo:
    """Start everything, annotate, wait for the training, and request predictions for the other clips."""
    clips = _rendered(root / "clips")
    server = stack.enter_context(_label_studio(executable, root / "label-studio"))
    token = server.personal_access_token() or server.legacy_token
    backend = stack.enter_context(_backend(server.url, token, root))
    api = stack.enter_context(server.api())
    project = api.create_project("framewise demo: football", LABEL_CONFIG)["id"]
    api.connect_backend(project, backend, "framewise")
    tasks = [api.import_files(project, [clip.path])[0] for clip in _bar(clips, "uploading clips")]
    for task, clip in _bar(list(zip(tasks, clips, strict=True))[:ANNOTATED], "submitting annotations"):
        api.submit_annotation(task["id"], true_regions(clip))
    _wait_for_training(backend)
    unseen = list(zip(tasks, clips, strict=True))[ANNOTATED:]
    predictions = _predictions(api, project, [task["id"] for task, _ in unseen])
    outcomes = [_outcome(clip, predictions[task["id"]]) for task, clip in unseen]
    return Demo(server, api, backend, project, tasks, clips, outcomes)


def _run(stack: ExitStack, executable: Path, root: Path, exit_after: bool) -> int:
    demo = prepare(stack, executable, root)
    server = demo.server
    print_timelines(demo.outcomes, LABELS)
    picture = draw_timelines(demo.outcomes, LABELS, root / "timelines.png")
    good = mean_f1(demo.outcomes) >= GOOD_F1
    print(f"\npicture of the timelines: {picture}")
    print(f"Label Studio: {server.url}/projects/{demo.project}/data   user {server.username}   password {server.password}")
    print(f"framewise:    {demo.backend}/   scores, wrong predictions, what to annotate next")
    if exit_after:
        return 0 if good else 1
    print("Open a task to see its predicted timeline. Ctrl-C ends the demo.")
    while server.running:
        time.sleep(POLL_SECONDS)
    return 1


def true_regions(clip: ClipTruth) -> list[dict[str, Any]]:
    """Regions that a careful annotator would draw on a clip."""
    return [
        {**write_region([label], start, end, "timeline", "video"), "origin": "manual"}
        for label, intervals in clip.intervals.items()
        for start, end in intervals
    ]


def mean_f1(outcomes: list[PredictedClip]) -> float:
    """Mean over labels of the frame F1 pooled over all clips."""
    truth, predicted = (np.concatenate(arrays) for arrays in zip(*((o.truth, o.predicted) for o in outcomes), strict=True))
    return float(np.nanmean(frame_f1(truth, predicted)))


def _rendered(folder: Path) -> list[ClipTruth]:
    with tqdm(total=CLIPS, desc="rendering clips", unit="clip") as bar:
        return render_clips(folder, CLIPS, CLIP_SEED, progress=lambda *_: bar.update(1))


@contextmanager
def _label_studio(executable: Path, data_dir: Path) -> Iterator[LabelStudioServer]:
    with tqdm(desc="starting Label Studio (the first time, half a minute)", bar_format="{desc} {postfix}{elapsed}") as bar:
        server = LabelStudioServer(executable, data_dir, port=free_port(8080), progress=lambda _: bar.refresh())
        server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def _backend(label_studio_url: str, token: str, root: Path) -> Iterator[str]:
    settings = Settings(
        port=free_port(9090),
        label_studio_url=label_studio_url,
        label_studio_api_key=token,
        model_root=root / "models",
        cache_dir=root / "cache_dir",
        data_dir=root / "data",
        model_path=LITE0,
        local_files_roots=(root / "label-studio" / "media",),  # so that its pages can play the uploads
    )
    with tqdm(desc="starting framewise", bar_format="{desc} {elapsed}") as bar:
        backend = BackendServer(settings, root / "framewise.log", progress=bar.refresh)
        backend.start()
    try:
        yield backend.url
    finally:
        backend.stop()


def _wait_for_training(backend: str) -> None:
    """Wait until no job is waiting or running twice in a row, showing the progress."""
    quiet, deadline = 0, time.monotonic() + WAIT_SECONDS
    with tqdm(
        total=1.0, desc="extracting and training", bar_format="{desc} |{bar}| {percentage:3.0f} % {postfix}{elapsed}"
    ) as bar:
        while quiet < 2:
            jobs = httpx.get(f"{backend}/jobs", timeout=10, trust_env=False).json()
            quiet = 0 if jobs["pending"] or jobs["running"] else quiet + 1
            for job in jobs["jobs"][:1]:
                bar.n = job["progress"]
                bar.set_postfix_str(f"{job['title']}: {job['detail']} ")
            if time.monotonic() > deadline:
                raise FramewiseError(f"the training did not end within {WAIT_SECONDS:g} s; see {backend}/jobs")
            time.sleep(POLL_SECONDS)
    failed = [job for job in jobs["jobs"] if job["kind"] == "train" and job["state"] == "failed"]
    if failed:
        raise FramewiseError(f"the training failed: {failed[0]['error']}")


def _predictions(api: LabelStudioApi, project: int, task_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    """Regions of each task's predictions in Label Studio, requested again for those that were not ready."""
    found: dict[int, list[dict[str, Any]]] = {}
    deadline = time.monotonic() + WAIT_SECONDS
    with tqdm(total=len(task_ids), desc="asking Label Studio for predictions", unit="clip") as bar:
        while missing := [t for t in task_ids if t not in found]:
            api.retrieve_predictions(project, missing)
            for task in missing:
                stored = api.predictions(task)
                if stored:
                    found[task] = stored[-1]["result"]
            bar.n = len(found)
            bar.refresh()
            if time.monotonic() > deadline:
                raise FramewiseError(f"Label Studio has no predictions of the tasks {missing}")
    return found


def _outcome(clip: ClipTruth, regions: list[dict[str, Any]]) -> PredictedClip:
    truth = regions_to_frame_labels(read_regions(true_regions(clip)), LABELS, clip.num_frames)
    predicted = regions_to_frame_labels(read_regions(regions), LABELS, clip.num_frames)
    return PredictedClip(Path(clip.path).stem, truth, predicted)


def _bar(items: list[Any], what: str) -> Any:
    return tqdm(items, desc=what, unit="clip")
