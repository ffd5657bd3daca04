"""Coverage-guided fuzzing of untrusted input: labeling configs and webhook events. ``make fuzz`` runs it.

A finding is any exception other than our own errors, or an input that takes more than a few seconds or much memory.
Interesting inputs are kept in .fuzz/corpus, findings in .fuzz/crashes; the next run reads both.
``python -m tools.fuzz --target event FILE`` reproduces a finding.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["framewise"]):
    from framewise.assembly import Assembly
    from framewise.core.converter import regions_to_frame_labels
    from framewise.core.errors import ConfigError, RegionError, RequestError
    from framewise.core.regions import read_regions
    from framewise.labeling_config import PARAMETERS, match_classes, read_labeling_config
    from framewise.settings import Settings

FOLDER = Path(".fuzz")
SECONDS_PER_INPUT = 5
MEGABYTES = 3000  # torch alone takes a few hundred
LONGEST_INPUT = 20_000

CONFIG = (
    '<View><TimelineLabels name="tl" toName="v" model_trainable="true" model_score_threshold="0.5">'
    '<Label value="Walk" predicted_values="dog, cat"/><Label value="Run" alias="R"/></TimelineLabels>'
    '<Video name="v" value="$video" frameRate="$fps"/></View>'
)
REGION = {
    "id": "r", "type": "timelinelabels", "from_name": "tl", "to_name": "v", "origin": "manual",
    "value": {"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["Walk"]},
}  # fmt: skip
ANNOTATION = {"id": 1, "result": [REGION], "updated_at": "2025-01-01T00:00:00Z", "was_cancelled": False, "ground_truth": False}
PROJECT = {
    "id": 1, "title": "t", "label_config": CONFIG, "created_at": "2025-01-01T00:00:00.5Z", "updated_at": "2025-01-02T00:00:00Z",
    "total_annotations_number": 1, "skipped_annotations_number": 0, "min_annotations_to_start_training": 0,
}  # fmt: skip
KEY = "1.1735689600"  # of the project, unless it is mutated
RENAMED = {**PROJECT, "label_config": CONFIG.replace("Walk", "Stroll"), "updated_at": "2025-01-03T00:00:00Z"}
TASK = {"id": 1, "data": {"video": "a.mp4", "fps": 25}, "updated_at": "2025-01-01T00:00:00Z", "total_annotations": 0}
EVENTS: list[dict[str, Any]] = [
    {"action": "ANNOTATION_CREATED", "project": PROJECT, "annotation": ANNOTATION, "task": TASK},
    {"action": "ANNOTATION_UPDATED", "project": PROJECT, "annotation": ANNOTATION, "task": TASK},
    {"action": "ANNOTATIONS_CREATED", "project": PROJECT, "annotation": [ANNOTATION, ANNOTATION], "task": [TASK, TASK]},
    {"action": "ANNOTATIONS_DELETED", "project": PROJECT, "annotations": [{"id": 1}]},
    {"action": "TASKS_CREATED", "project": PROJECT, "tasks": [TASK]},
    {"action": "TASKS_DELETED", "project": PROJECT, "tasks": [{"id": 1}]},
    {"action": "PROJECT_UPDATED", "project": RENAMED},
    {"action": "START_TRAINING", "project": PROJECT},
]  # fmt: skip
TAGS = ["View", "TimelineLabels", "Video", "Label", "Audio", "Choices", "a:b"]
ATTRIBUTES = ["name", "toName", "value", "frameRate", "alias", "predicted_values", "model_role", *(p.name for p in PARAMETERS)]
VALUES = ["tl", "v", "$video", "$fps", "true", "1", "0.5", "25", "-1", "1e308", "1e-320", "nan", "Infinity", "0x10", "Walk", ""]
NUMBERS: list[Any] = [0, 1, -1, 2**31, 2**63, 10**40, 0.5, 1e308, float("nan"), float("inf"), True, False, None]
CLASSES = {0: "dog", 1: "Cat", 2: "soccer_ball"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="for all targets together")
    parser.add_argument("--target", choices=sorted(TARGETS), help="run only this target, in this process")
    parser.add_argument("input", nargs="?", type=Path, help="a finding to reproduce")
    arguments = parser.parse_args()
    if arguments.target:
        fuzz(arguments.target, arguments.minutes * 60, arguments.input)
    failed = []
    for target in TARGETS:
        command = [sys.executable, __file__, "--target", target, "--minutes", str(arguments.minutes / len(TARGETS))]
        if subprocess.run(command, check=False).returncode:
            failed.append(target)
    sys.exit(f"findings in {FOLDER / 'crashes'}: {', '.join(failed)}" if failed else 0)


def fuzz(target: str, seconds: float, finding: Path | None) -> None:
    """Fuzz one target in this process, and exit."""
    corpus, crashes = FOLDER / "corpus" / target, FOLDER / "crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MEGABYTES}", f"-max_len={LONGEST_INPUT}",
        f"-max_total_time={int(seconds)}", f"-artifact_prefix={crashes}/{target}-", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(finding or corpus)], TARGETS[target]())
    atheris.Fuzz()


def config_target() -> Callable[[bytes], None]:
    """Target of a labeling config, as text or generated from tags, with the data of a task."""

    def try_one(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data[1:])
        text = (
            data[1:].decode("utf-8", "surrogateescape" if data[:1] == b"\1" else "replace")
            if data[:1] < b"\2"
            else element(provider, 0)
        )
        try:
            controls = read_labeling_config(text)
        except ConfigError:
            return
        for control in controls:
            control.prediction_key()
            for use in (
                lambda c=control: match_classes(c, CLASSES),
                lambda c=control: c.frame_rate({"fps": value(provider, 0)}),
                lambda c=control: c.media_source({"video": value(provider, 0)}),
            ):
                try:
                    use()
                except (ConfigError, RequestError):
                    continue

    return try_one


def element(provider: Any, depth: int) -> str:
    """Generate a tag with attributes and children."""
    name = provider.PickValueInList(TAGS)
    attributes = ""
    for _ in range(provider.ConsumeIntInRange(0, 4)):
        shown = provider.PickValueInList(VALUES) if provider.ConsumeBool() else provider.ConsumeUnicode(12)
        attributes += f' {provider.PickValueInList(ATTRIBUTES)}="{shown}"'
    children = "".join(element(provider, depth + 1) for _ in range(provider.ConsumeIntInRange(0, 3))) if depth < 4 else ""
    return f"<{name}{attributes}>{children}</{name}>"


def event_target() -> Callable[[bytes], None]:
    """Target of a webhook event, stored in a real store, with its regions read like in a training."""
    folder = Path(tempfile.mkdtemp(prefix="framewise-fuzz-"))
    names = {"MODEL_ROOT": "models", "CACHE_DIR": "cache", "DATA_DIR": "data"}
    assembly = Assembly(Settings.from_env({name: str(folder / below) for name, below in names.items()}))

    def try_one(data: bytes) -> None:
        event = event_of(data)
        if not isinstance(event, dict):
            return
        try:
            assembly.backend.on_event(event)
        except (RequestError, RecursionError):  # the server answers both with 400
            return
        assembly.annotations.training_set(KEY)
        annotation = event.get("annotation")
        result = annotation.get("result") if isinstance(annotation, dict) else None
        try:
            regions_to_frame_labels(read_regions(result if isinstance(result, list) else [], "tl"), ["Walk", "Run"], 40)
        except RegionError:
            return

    return try_one


def event_of(data: bytes) -> Any:
    """Event from the data as JSON, or a valid event with some mutations."""
    if data[:1] < b"\2":
        try:
            return json.loads(data[1:])
        except (ValueError, RecursionError):
            return None
    provider = atheris.FuzzedDataProvider(data[1:])
    event = json.loads(json.dumps(provider.PickValueInList(EVENTS)))
    for _ in range(provider.ConsumeIntInRange(0, 4)):
        change(event, provider)
    return event


def change(tree: Any, provider: Any) -> None:
    """Replace or remove one node of a tree."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = provider.PickValueInList(keys)
        if not isinstance(tree[key], dict | list) or provider.ConsumeIntInRange(0, 3) == 0:
            break
        tree = tree[key]
    if provider.ConsumeBool():
        tree[key] = value(provider, 0)
    else:
        del tree[key]


def value(provider: Any, depth: int) -> Any:
    """Generate any JSON value."""
    kind = provider.ConsumeIntInRange(0, 5 if depth < 3 else 3)
    if kind == 0:
        return provider.PickValueInList(NUMBERS)
    if kind == 1:
        return provider.PickValueInList(VALUES)
    if kind == 2:
        return provider.ConsumeUnicode(20)
    if kind == 3:
        return provider.ConsumeInt(9)
    if kind == 4:
        return [value(provider, depth + 1) for _ in range(provider.ConsumeIntInRange(0, 3))]
    return {provider.ConsumeUnicode(4): value(provider, depth + 1) for _ in range(provider.ConsumeIntInRange(0, 3))}


TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {"config": config_target, "event": event_target}
SEEDS = {
    "config": [b"\0" + CONFIG.encode(), b"\1" + CONFIG.replace("$fps", "29.97").encode(), b"\2" + bytes(range(200))],
    "event": [*(b"\0" + json.dumps(event).encode() for event in EVENTS), b"\2" + bytes(range(200))],
}

if __name__ == "__main__":
    main()
