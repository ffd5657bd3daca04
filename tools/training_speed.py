"""Measure the time from a submit to the version that learned from it, compared with training on the last video alone.

    python -m tools.training_speed [--videos 20,100] [--repeats 5]

Renders clips of 6 to 8 seconds, starts a backend on empty folders and annotates them like Label Studio. When all are learned,
annotations are updated one after another, timing how long it takes until /versions lists the version that knows the update
(the quick one), and the one after it (measured on held-out videos). In between, on the same machine and the same features,
MultiLabelLSTM.partial_fit learns only the last video, which is how Label Studio's example backend trains. Prints medians and
ratios.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tqdm import tqdm

from framewise.core.converter import regions_to_frame_labels
from framewise.core.regions import read_regions
from framewise.demo.backend_server import BackendServer, free_port
from framewise.demo.clips import ClipTruth, render_clips
from framewise.demo.run import LABEL_CONFIG, true_regions
from framewise.features.backbone import Backbones
from framewise.features.extraction import Extractor, VideoFeatures
from framewise.features.kinds.lite0 import LITE0
from framewise.labeling_config import read_labeling_config
from framewise.learning.networks import MultiLabelLSTM
from framewise.settings import Settings
from tests.messages import Project, task_of

PATIENCE_SECONDS = 3600.0
POLL_SECONDS = 0.02


class Annotators:
    """Messages of Label Studio while clips are annotated, and their answers."""

    def __init__(self, url: str, clips: list[ClipTruth]):
        self._client = httpx.Client(base_url=url, timeout=100, trust_env=False)
        self._project, self._clips = Project(LABEL_CONFIG), clips
        self._client.post("/setup", json=self._project.setup_body()).raise_for_status()

    def submit(self, number: int, action: str = "ANNOTATION_CREATED") -> None:
        """Submit a different number of regions each time, so that there is something to learn."""
        regions = true_regions(self._clips[number])
        kept = regions if action == "ANNOTATION_CREATED" else regions[: max(1, len(regions) - 1)]
        event = self._project.annotation_event(task_of(number, str(self._clips[number].path)), kept, action, number + 1)
        self._client.post("/webhook", json=event).raise_for_status()

    def newest(self) -> str:
        versions = self._client.get("/versions", params={"project": self._project.id}).json()["versions"]
        return str(versions[0]) if versions else ""

    def seconds_to_versions(self, number: int) -> tuple[float, float]:
        """Seconds from an update to the quick version, and to the measured one that follows it."""
        known, began = self.newest(), time.monotonic()
        self.submit(number, "ANNOTATION_UPDATED")
        seconds = []
        for _ in range(2):
            while (now := self.newest()) == known:
                if time.monotonic() - began > PATIENCE_SECONDS:
                    raise SystemExit("no new version; see the log of the backend")
                time.sleep(POLL_SECONDS)
            known = now
            seconds.append(time.monotonic() - began)
        return seconds[0], seconds[1]

    def wait_until_idle(self) -> None:
        while (jobs := self._client.get("/jobs").json())["pending"] or jobs["running"]:
            time.sleep(0.2)


def seconds_of_partial_fit(features: VideoFeatures, clip: ClipTruth) -> float:
    """Seconds for a new network on one video, with the defaults of Label Studio's guide."""
    (control,) = read_labeling_config(LABEL_CONFIG)
    rows = features.on_grid(25.0)
    regions = read_regions(true_regions(clip), control.from_name)
    labels = regions_to_frame_labels(regions, control.label_names, len(rows))
    began = time.monotonic()
    MultiLabelLSTM(rows.shape[1], labels.shape[1]).partial_fit(rows, labels.astype(np.float32))
    return time.monotonic() - began


def measured(settings: Settings, clips: list[ClipTruth], repeats: int) -> dict[str, float]:
    """Median seconds with these clips annotated."""
    backbone = Backbones(settings.model_root, settings.data_dir).find(LITE0)
    extractor = Extractor.of(settings)
    found: dict[str, list[float]] = {"quick": [], "measured": [], "partial_fit": []}
    with BackendServer(settings, settings.data_dir.parent / "backend.log") as backend:
        people = Annotators(backend.url, clips)
        for number in range(len(clips)):
            people.submit(number)
        people.wait_until_idle()
        content = hashlib.sha256(clips[-1].path.read_bytes()).hexdigest()
        for number in tqdm(range(repeats), desc=f"{len(clips)} videos", unit="submit"):
            quick, thorough = people.seconds_to_versions(number % len(clips))
            people.wait_until_idle()
            features = extractor.cached(content, backbone.content, "center")
            assert features is not None
            values: dict[str, Any] = {"quick": quick, "measured": thorough}
            values["partial_fit"] = seconds_of_partial_fit(features, clips[-1])
            for name, value in values.items():
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", default="20,100", help="numbers of annotated videos")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    numbers = [int(number) for number in args.videos.split(",")]
    with tempfile.TemporaryDirectory(prefix="framewise-speed-") as name:
        folder = Path(name)
        with tqdm(desc="rendering", total=max(numbers), unit="clip") as bar:
            clips = render_clips(folder / "clips", max(numbers), seed=5, progress=lambda done, count: bar.update())
        print("| videos | submit to a version, s | to a measured one, s | partial_fit of the last, s | ratio of the first |")
        print("|---|---|---|---|---|")
        for number in numbers:
            settings = Settings(
                port=free_port(),
                model_root=folder / f"{number}" / "models",
                cache_dir=folder / "cache",
                data_dir=folder / f"{number}" / "data",
                model_path=LITE0,
                local_files_roots=(folder / "clips",),
            )
            s = measured(settings, clips[:number], args.repeats)
            ratio = s["partial_fit"] / s["quick"]
            print(f"| {number} | {s['quick']:.2f} | {s['measured']:.1f} | {s['partial_fit']:.2f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
