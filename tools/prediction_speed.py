"""Measure the time of predictions from cached features, and of loading the features.

    python -m tools.prediction_speed [--annotated 6,20] [--repeats 50] [--tasks 300] [--classifier auto]

Renders clips of 6 to 8 seconds and one of 500 frames, starts a backend on empty folders, annotates some clips like Label
Studio, and waits until everything is extracted and learned. Then it times, in turn: a prediction of the clip of 500 frames in
this process, the same over HTTP, one request of many tasks, and loading the features of a clip of 1259 frames: from framewise's
cache, and from a joblib.Memory that pickles a list of one tensor per frame, like Label Studio's example backend. No answers are
cached: each one is computed. Prints medians, and the processor time of the first, which is more reliable on a busy machine.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import torch
from tqdm import tqdm

from framewise.assembly import Assembly
from framewise.controls import Source
from framewise.core.progress import silent
from framewise.demo.backend_server import BackendServer, free_port
from framewise.demo.clips import ClipTruth, render_clips
from framewise.demo.run import LABEL_CONFIG, true_regions
from framewise.features.extraction import VideoFeatures
from framewise.features.kinds.lite0 import LITE0
from framewise.learning.threads import one_processor_a_thread
from framewise.settings import Settings
from tests.index_clips import make_index_clip
from tests.messages import Project, task_of

FRAMES, LOADED_FRAMES = 500, 1259
CLIPS = 30
PATIENCE_SECONDS = 1800.0


class LabelStudio:
    """Requests as Label Studio sends them."""

    def __init__(self, url: str, classifier: str):
        self._client = httpx.Client(base_url=url, timeout=1000, trust_env=False)
        config = LABEL_CONFIG.replace('model_trainable="true"', f'model_trainable="true" model_classifier_type="{classifier}"')
        self.project = Project(config)
        self._client.post("/setup", json=self.project.setup_body()).raise_for_status()

    def annotate(self, number: int, clip: ClipTruth) -> None:
        event = self.project.annotation_event(task_of(number, str(clip.path)), true_regions(clip))
        self._client.post("/webhook", json=event).raise_for_status()

    def predict(self, tasks: Sequence[dict[str, Any]]) -> list[Any]:
        answer = self._client.post("/predict", json=self.project.predict_body(tasks)).raise_for_status()
        results: list[Any] = answer.json()["results"]
        return results

    def wait_until_idle(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while (jobs := self._client.get("/jobs").json())["pending"] or jobs["running"]:
            if time.monotonic() > end:
                raise SystemExit("jobs do not end; see the log of the backend")
            time.sleep(0.2)


def seconds_of(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def medians(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, taking turns, after an uncounted first one."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in tqdm(range(repeats), leave=False):
        for name, call in calls.items():
            found[name].append(seconds_of(call))
    return {name: statistics.median(values) for name, values in found.items()}


def measure_predictions(
    settings: Settings, classifier: str, clips: list[ClipTruth], annotated: int, long: Path, args: Any
) -> None:
    """Print a row of the table of predictions."""
    tasks = [task_of(1000 + n, str(clips[n % len(clips)].path)) for n in range(args.tasks)]
    one = [task_of(999, str(long))]
    with BackendServer(settings, settings.data_dir.parent / "backend.log") as server:
        studio = LabelStudio(server.url, classifier)
        for number, clip in enumerate(clips[:annotated]):
            studio.annotate(number, clip)
        studio.predict([*one, *tasks])
        studio.wait_until_idle()
        assert all(studio.predict([*one, *tasks])), "not everything was extracted; see the log of the backend"
        backend, project = Assembly(settings).backend, studio.project
        found = medians(
            {
                "process": lambda: backend.predict(project.key, project.config, one),
                "http": lambda: studio.predict(one),
            },
            args.repeats,
        )
        began = time.process_time()
        for _ in range(args.repeats):
            backend.predict(project.key, project.config, one)
        computed = (time.process_time() - began) / args.repeats
        many = statistics.median(seconds_of(lambda: studio.predict(tasks)) for _ in range(5))
    name = f"{classifier}, {annotated} annotated clips"
    print(
        f"| {name} | {found['process'] * 1e3:.1f} | {computed * 1e3:.1f} | {found['http'] * 1e3:.1f} | {many:.2f} |", flush=True
    )


def measure_loading(settings: Settings, video: Path, folder: Path, repeats: int) -> None:
    """Print the table of loading features."""
    assembly = Assembly(settings)
    (learner,) = assembly.backend.learners("1.1", LABEL_CONFIG)
    (control,) = learner.controls
    content, features = assembly.backend.features_now(Source(learner, control, str(video)), None, silent)
    assert isinstance(features, VideoFeatures)
    rows = features.take(np.arange(len(features.timeline.pts)))
    pickled = joblib.Memory(folder, verbose=0).cache(lambda name: [torch.from_numpy(row.copy()) for row in rows])
    pickled("features")
    size = sum(path.stat().st_size for path in folder.rglob("output.pkl"))

    def load() -> None:
        found = control.cached_features(content)
        assert isinstance(found, VideoFeatures)
        found.read(np.arange(len(found.timeline.pts)))

    found = medians({"ours": load, "pickles": lambda: torch.stack(pickled("features"))}, repeats)
    ours, theirs = found["ours"] * 1e3, found["pickles"] * 1e3
    print(f"\n| features of {len(rows)} frames | framewise, ms | pickles, ms | ratio |\n|---|---|---|---|")
    print(f"| {size / len(rows):.0f} bytes a frame as pickles | {ours:.1f} | {theirs:.1f} | {theirs / ours:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotated", default="6,20", help="numbers of annotated clips")
    parser.add_argument("--classifier", default="auto", help="values of model_classifier_type: auto,lstm")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=300, help="of one request")
    args = parser.parse_args()
    one_processor_a_thread()  # like web processes
    with tempfile.TemporaryDirectory(prefix="framewise-speed-") as name:
        folder = Path(name)
        with tqdm(desc="rendering", total=CLIPS, unit="clip", leave=False) as bar:
            clips = render_clips(folder / "clips", CLIPS, seed=5, progress=lambda done, count: bar.update())
        long = make_index_clip(folder / "clips" / "long.mp4", FRAMES, 25, (320, 320))
        loaded = make_index_clip(folder / "clips" / "loaded.mp4", LOADED_FRAMES, 25, (320, 320))
        print(f"| model | {FRAMES} frames in the process, ms | of that computing | over HTTP, ms | {args.tasks} tasks, s |")
        print("|---|---|---|---|---|")
        for classifier in args.classifier.split(","):
            for annotated in args.annotated.split(","):
                own = folder / f"{classifier}-{annotated}"
                settings = Settings(
                    port=free_port(),
                    model_root=own / "models",
                    cache_dir=folder / "cache",
                    data_dir=own / "data",
                    model_path=LITE0,
                    local_files_roots=(folder / "clips",),
                )
                measure_predictions(settings, classifier, clips, int(annotated), long, args)
        measure_loading(settings, loaded, folder / "pickles", args.repeats)


if __name__ == "__main__":
    main()
