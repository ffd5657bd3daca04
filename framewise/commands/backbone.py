"""``framewise backbone``: a network's facts, after downloading it if necessary."""

import argparse
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

from framewise.commands.flags import Commands, add_folders, settings_of
from framewise.core.sizes import format_size

if TYPE_CHECKING:
    from framewise.features.backbone import Backbone, Backbones
    from framewise.features.engines import Compute
    from framewise.settings import Settings

MIN_RUNS, MAX_RUNS, MEASURED_SECONDS = 3, 25, 5.0
SHOWN_CLASSES = 4


def add_parser(commands: Commands) -> None:
    summary = "show a backbone's size, licence, classes and cost; download it first"
    parser = commands.add("backbone", summary, "framewise backbone yolov8s-cls.pt", "docs/backbones.md")
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="as model_path: a file in the models folder, or a name such as yolov8n-cls.pt (default: MODEL_PATH)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_folders(parser, "model_root", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the facts of a backbone. Raises BackboneError, SettingsError."""
    from framewise.features.backbone import Backbones

    settings = settings_of(args)
    facts = facts_of(Backbones(settings.model_root, settings.data_dir), args.name or settings.model_path, settings)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if args.json else "\n".join(_lines(facts)))


def facts_of(backbones: "Backbones", name: str, settings: "Settings") -> dict[str, Any]:
    """Facts of a backbone, with its cost measured here and now. Raises BackboneError, SettingsError."""
    from framewise.features.backbone import kind_of
    from framewise.features.engines import Compute

    file = backbones.fetch_official(name)
    files = kind_of(name).files(name, settings.model_root)
    backbone = backbones.load(file)
    compute = Compute(settings.extraction_engine, settings.extraction_precision, 1)
    num_features, milliseconds = _cost(backbone, compute)
    return {
        "name": file.name,
        "kind": kind_of(name).title,
        "licence": backbones.licence(file),
        "files": [str(path) for path in files],
        "bytes": sum(path.stat().st_size for path in files),
        "sha256": file.content,
        "picture_side": backbone.cut.image_size,
        "features": num_features,
        "milliseconds_a_picture": round(milliseconds, 2),
        "classes": list(backbone.cut.names.values()),
    }


def _cost(backbone: "Backbone", compute: "Compute") -> tuple[int, float]:
    """Number of features, and the median time of a picture in ms, on one processor as in an extraction."""
    import numpy as np

    from framewise.features.engines import threads_of_their_own

    engine, side = backbone.engine(compute), backbone.cut.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (engine.batch, side, side, 3), dtype=np.uint8)
    seconds: list[float] = []
    with threads_of_their_own(1) as pool:
        features = pool.submit(engine, pictures).result()  # the first one is slower
        while len(seconds) < MIN_RUNS or (len(seconds) < MAX_RUNS and sum(seconds) < MEASURED_SECONDS):
            began = time.perf_counter()
            pool.submit(engine, pictures).result()
            seconds.append(time.perf_counter() - began)
    return features.shape[1], 1000 * statistics.median(seconds) / len(pictures)


def _lines(facts: dict[str, Any]) -> list[str]:
    classes = facts["classes"]
    shown = ", ".join(classes[:SHOWN_CLASSES]) + ", ..." * (len(classes) > SHOWN_CLASSES)
    rows = {
        "kind": facts["kind"],
        "licence": facts["licence"],
        "file": f"{', '.join(facts['files'])} ({format_size(facts['bytes'])})",
        "sha256": facts["sha256"],
        "pictures": f"{facts['picture_side']} x {facts['picture_side']}",
        "features": f"{facts['features']} numbers a picture",
        "cost": f"{facts['milliseconds_a_picture']:.1f} ms a picture on one processor, without decoding and resizing",
        "classes": f"{len(classes)}: {shown}" if classes else 'none: for model_trainable="true" only',
    }
    return [facts["name"], *(f"  {name:9}{text}" for name, text in rows.items())]
