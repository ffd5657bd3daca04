"""How fast /health, /setup and /webhook answer while a training and extractions run.

python tools/measure_latency.py [--seconds 40]

Renders clips, starts a backend on empty folders, keeps it busy with cold videos and trainings, and asks all the while the
way Label Studio does. Prints median, 99th percentile and maximum in milliseconds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from framewise.demo.backend_server import BackendServer, free_port
from framewise.demo.clips import ClipTruth, render_clips
from framewise.demo.run import LABEL_CONFIG, true_regions
from framewise.settings import Settings

CREATED = "2026-01-01T00:00:00Z"
PROJECT = {"id": 1, "title": "latency", "created_at": CREATED, "label_config": LABEL_CONFIG}
UID = "1.1767225600"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--clips", type=int, default=16)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = render_clips(root / "clips", args.clips, seed=3)
        settings = Settings(
            port=free_port(),
            model_root=root / "models",
            cache_dir=root / "cache",
            data_dir=root / "data",
            model_path="framewise-n-cls",
            local_files_roots=(root / "clips",),
            predict_wait_seconds=0,
        )
        with BackendServer(settings, root / "log") as backend, httpx.Client(base_url=backend.url, trust_env=False) as client:
            print_table(measure(backend, client, clips, args.seconds))


def measure(backend: BackendServer, client: httpx.Client, clips: list[ClipTruth], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of every answer, by what was asked; only while jobs run or wait."""
    for number in range(len(clips)):
        task = {"id": number, "data": {"video": str(clips[number].path)}}
        client.post("/predict", json={"tasks": [task], "project": UID, "label_config": LABEL_CONFIG}).raise_for_status()
    taken: dict[str, list[float]] = {"/health": [], "/setup": [], "/webhook": []}
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        number += 1
        requests: dict[str, tuple[str, dict[str, Any] | None]] = {
            "/health": ("GET", None),
            "/setup": ("POST", {"project": UID, "schema": LABEL_CONFIG, "hostname": "", "access_token": ""}),
            "/webhook": ("POST", _submit(clips[number % 4], number % 4)),
        }
        for path, (method, body) in requests.items():
            began = time.perf_counter()
            client.request(method, path, json=body).raise_for_status()
            taken[path].append(1000 * (time.perf_counter() - began))
        time.sleep(0.1)
        jobs = backend.jobs()
        if not jobs["pending"] and not jobs["running"]:
            raise SystemExit("nothing was running while it was measured: give more --clips")
    return taken


def _submit(clip: ClipTruth, number: int) -> dict[str, Any]:
    task = {"id": number, "data": {"video": str(clip.path)}, "project": 1}
    annotation = {"id": number, "result": true_regions(clip), "task": number, "project": 1, "was_cancelled": False}
    return {"action": "ANNOTATION_UPDATED", "project": PROJECT, "task": task, "annotation": annotation}


def print_table(taken: dict[str, list[float]]) -> None:
    """Median, 99th percentile and maximum."""
    print(f"{'':10} {'answers':>8} {'median':>8} {'p99':>8} {'max':>8}  ms")
    for path, values in taken.items():
        p99 = statistics.quantiles(values, n=100)[98]
        print(f"{path:10} {len(values):8} {statistics.median(values):8.1f} {p99:8.1f} {max(values):8.1f}")


if __name__ == "__main__":
    main()
