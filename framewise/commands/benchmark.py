"""Extraction speed of this machine, compared with the usual way and with upper limits.

All sides take turns on the same video in one run, because the speed of a machine changes by the minute: only the ratios are
meaningful. The usual way is Ultralytics' own ``predict``, one picture at a time, with a hook on the last layer. The ceilings
are single steps of the work, each on all processors.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from framewise.core.progress import silent
from framewise.core.storage import write_readable_json
from framewise.core.tables import table_lines
from framewise.features.backbone import Backbone, Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute, CutNetwork, has_bfloat16, has_openvino, threads_of_their_own
from framewise.features.extraction import Extractor
from framewise.features.kinds.kind import import_torchvision
from framewise.features.kinds.ultralytics import prepare_ultralytics
from framewise.features.passes import in_order
from framewise.media.library import MediaFile
from framewise.media.video import decode
from framewise.settings import Settings

CLIP_SIZE, CLIP_PICTURES, CLIP_RATE = (1280, 720), 300, 30
REFERENCE = "usual way: Ultralytics predict, one picture at a time"
NETWORK_PICTURES = 512
UNDER_WAY = 16  # decoded pictures for each thread
SAMPLED = "sampled"  # fast, and the backbone computes chosen pictures
BACKBONE = "bench"  # instead of the content hash of the weights: the cache is separate

Run = Callable[[], int]  # does the work once; returns the number of pictures


@dataclass(frozen=True)
class Side:
    """One of the timed alternatives. kind: "reference", "framewise" or "ceiling"."""

    name: str
    kind: str
    run: Run


@dataclass(frozen=True)
class BenchParts:
    """Inputs shared by all sides."""

    video: Path
    backbone: Backbone
    folder: Path
    threads: int

    def compute(self, engine: str, precision: str) -> Compute:
        return Compute(engine, precision, self.threads)


def bench(settings: Settings, video: Path | None, rounds: int, out: Path | None, picture: Path | None) -> int:
    """Measure and print a table. video: a rendered clip if None. Raises MediaError, BackboneError."""
    backbones = Backbones(settings.model_root, settings.data_dir)
    backbone = backbones.load(backbones.fetch_official(settings.model_path))
    with tempfile.TemporaryDirectory(prefix="framewise-bench-") as name:
        path = video or render_clip(Path(name) / "clip.mp4")
        about = {"machine": machine(), "video": describe(path, video is None), "backbone": settings.model_path}
        report = about | measure(BenchParts(path, backbone, Path(name), settings.extraction_threads), rounds)
    print("\n".join(lines_of(report)))
    if out:
        write_readable_json(out, report)
    if picture:
        draw(report, picture)
    return 0


def measure(parts: BenchParts, rounds: int) -> dict[str, Any]:
    """Measure pictures per second of every side in every round, and derive ratios."""
    sides = [*ours(parts), *ceilings(parts), Side(REFERENCE, "reference", usual_way(parts))]
    speeds: dict[str, list[float]] = {side.name: [] for side in sides}
    with tqdm(total=rounds * len(sides), unit="run") as bar:
        for _ in range(rounds):
            for side in sides:
                bar.set_description(side.name)
                began = time.perf_counter()
                pictures = side.run()
                speeds[side.name].append(pictures / (time.perf_counter() - began))
                bar.update()
    rows = [_row(side, speeds[side.name], speeds[REFERENCE]) for side in sides]
    return {"rounds": rounds, "sides": rows, "shares": list(_shares(speeds)), "look_up": look_up_share(parts, speeds)}


def ours(parts: BenchParts) -> Iterator[Side]:
    """Extraction to an empty cache, in each way that this machine supports."""
    for profile in ("exact", "fast", SAMPLED):
        for compute in ways(parts):
            if profile != "exact" or compute.precision == "float32":
                parts.backbone.engine(compute)  # created before timing, as in a worker
                yield Side(f"{profile}, {_name(compute)}", "framewise", _extraction(parts, profile, compute))


def ways(parts: BenchParts) -> Iterator[Compute]:
    """Yield the ways in which this machine can compute a backbone."""
    for engine in ("torch", *["openvino"] * has_openvino()):
        for precision in ("float32", *["bfloat16"] * has_bfloat16()):
            yield parts.compute(engine, precision)


def _name(compute: Compute) -> str:
    return f"{compute.engine} {compute.precision}"


def _extraction(parts: BenchParts, profile: str, compute: Compute) -> Run:
    def run() -> int:
        with tempfile.TemporaryDirectory(dir=parts.folder) as cache:
            kind = ("fast", compute, 0, True) if profile == SAMPLED else (profile, compute, 0, False)
            return _extracted(parts, Extractor(FeatureCache(Path(cache)), *kind), MediaFile.of(parts.video))

    return run


def _extracted(parts: BenchParts, extractor: Extractor, media: MediaFile) -> int:
    """Extract the features of a video; returns its number of pictures."""
    features = extractor.extract(media, BACKBONE, lambda: parts.backbone, "center", silent)
    return len(features.timeline.pts)


def ceilings(parts: BenchParts) -> Iterator[Side]:
    """Single steps of the work, each on all processors."""
    yield Side("decode alone", "ceiling", lambda: sum(1 for _ in decode(parts.video)))
    for profile in ("exact", "fast"):
        yield Side(f"decode and resize alone, {profile}", "ceiling", _preparation(parts, profile))
    for compute in ways(parts):
        yield Side(f"network alone, {_name(compute)}", "ceiling", _network(parts, compute))


def _preparation(parts: BenchParts, profile: str) -> Run:
    workers = parts.compute("auto", "auto").workers
    prepare = parts.backbone.preprocessor(profile, "center")

    def run() -> int:
        with ThreadPoolExecutor(workers) as pool:
            return sum(1 for _ in in_order(pool, prepare, decode(parts.video), UNDER_WAY * workers))

    return run


def _network(parts: BenchParts, compute: Compute) -> Run:
    engine, size = parts.backbone.engine(compute), parts.backbone.cut.image_size
    images = np.random.default_rng(0).integers(0, 256, (engine.batch, size, size, 3), dtype=np.uint8)

    def run() -> int:
        times = -(-NETWORK_PICTURES // engine.batch)
        with threads_of_their_own(compute.workers) as pool:
            return sum(len(features) for features in pool.map(lambda _: engine(images), range(times)))

    return run


def usual_way(parts: BenchParts) -> Run:
    """Ultralytics' predict on the file, with its own decoding and preprocessing; features by a hook on the last layer.

    A backbone that is not Ultralytics' is compared with a yolov8n-cls of random weights.
    """
    prepare_ultralytics(parts.folder)
    import_torchvision()
    from ultralytics import YOLO

    from framewise.features.yolo import YoloFeatures, whole_yolo

    yolo = YOLO("yolov8n-cls.yaml", task="classify")
    cut = parts.backbone.cut
    if isinstance(cut, CutNetwork) and isinstance(cut.module, YoloFeatures):
        yolo.model = whole_yolo(cut)
    features: list[npt.NDArray[Any]] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        features.append(args[0].detach().cpu().numpy())

    yolo.model.model[-1].linear.register_forward_hook(keep)

    def run() -> int:
        features.clear()
        for _ in yolo.predict(str(parts.video), stream=True, verbose=False, imgsz=parts.backbone.cut.image_size):
            pass
        return len(features)

    return run


def _row(side: Side, speeds: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    ratios = [own / other for own, other in zip(speeds, reference, strict=True)]
    return {
        "name": side.name,
        "kind": side.kind,
        "pictures_per_second": statistics.median(speeds),
        "lowest": min(speeds),
        "highest": max(speeds),
        "ratio": statistics.median(ratios),
    }


def _shares(speeds: dict[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Yield the ratio of each of our ways to 1 / (1/d + 1/n): decoding and resizing shares the processors with the network."""
    for name, own in speeds.items():
        profile, _, how = name.partition(", ")
        parts = [speeds.get(f"decode and resize alone, {profile}"), speeds.get(f"network alone, {how}")]
        if all(parts):
            bounds = [1 / (1 / d + 1 / n) for d, n in zip(*(part or [] for part in parts), strict=True)]
            shares = [speed / bound for speed, bound in zip(own, bounds, strict=True)]
            yield {"name": name, "bound": statistics.median(bounds), "share": statistics.median(shares)}


def look_up_share(parts: BenchParts, speeds: dict[str, list[float]]) -> dict[str, float]:
    """Seconds for hashing the file and looking it up in the cache, and their share of the fastest extraction."""
    plain = parts.compute("torch", "float32")
    extractor, media = Extractor(FeatureCache(parts.folder / "look-up"), "fast", plain), MediaFile.of(parts.video)
    pictures = _extracted(parts, extractor, media)
    began = time.perf_counter()
    MediaFile.of(parts.video)
    hashed = time.perf_counter()
    extractor.cached(media.content, BACKBONE, "center")
    looked = time.perf_counter()
    fastest = pictures / max(statistics.median(own) for name, own in speeds.items() if name.startswith(SAMPLED))
    return {"hash_seconds": hashed - began, "cache_seconds": looked - hashed, "share": (looked - began) / fastest}


def machine() -> dict[str, Any]:
    """Description of this machine."""
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        known = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = known[0].partition(":")[2].strip() if known else name
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": name,
        "processors": os.cpu_count(),
        "gpu": gpu,
        "system": platform.platform(),
        "torch": torch.__version__,
    }


def describe(path: Path, rendered: bool) -> str:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        about = f"{stream.width}x{stream.height} {stream.codec_context.name}"
    return f"{'a rendered clip' if rendered else path.name}, {about}"


def lines_of(report: dict[str, Any]) -> Iterator[str]:
    """Lines of the report for printing."""
    about = report["machine"]
    yield f"{about['processor']}, {about['processors']} processors, GPU: {about['gpu'] or 'none'}; {report['video']}"
    yield f"{report['backbone']}; medians of {report['rounds']} rounds (lowest to highest); ratios to the usual way\n"
    rows = [
        (r["name"], f"{r['pictures_per_second']:.0f}", f"{r['lowest']:.0f}-{r['highest']:.0f}", f"{r['ratio']:.2f}")
        for r in report["sides"]
    ]
    yield from table_lines([("", "PICTURES/S", "", "RATIO"), *rows])
    yield "\nShare of the limit 1 / (1/d + 1/n) for decoding and resizing (d) and the network (n) on the same processors:"
    yield from table_lines([(s["name"], f"{s['bound']:.0f}", f"{100 * s['share']:.0f} %") for s in report["shares"]])
    look_up = report["look_up"]
    hashing, looking = 1000 * look_up["hash_seconds"], 1000 * look_up["cache_seconds"]
    share = f"{100 * look_up['share']:.2f} % of the fastest extraction"
    yield f"\nHash of the file {hashing:.1f} ms, look-up in the cache {looking:.1f} ms: {share}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the table as bars."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = {"reference": "tab:red", "framewise": "tab:blue", "ceiling": "lightgrey"}
    rows = sorted(report["sides"], key=lambda r: (list(colours).index(r["kind"]), r["name"]), reverse=True)
    figure = Figure(figsize=(10, 0.8 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    speeds = [r["pictures_per_second"] for r in rows]
    spread = [
        [s - r["lowest"] for s, r in zip(speeds, rows, strict=True)],
        [r["highest"] - s for s, r in zip(speeds, rows, strict=True)],
    ]
    bars = axis.barh([r["name"] for r in rows], speeds, xerr=spread, color=[colours[r["kind"]] for r in rows], ecolor="grey")
    axis.bar_label(bars, [f" {s:.0f}  ({r['ratio']:.1f} x)" for s, r in zip(speeds, rows, strict=True)], padding=4)
    axis.margins(x=0.25)
    axis.set_xlabel("pictures per second (ratio to the usual way)")
    axis.set_title(
        f"{report['video']} on {report['machine']['processor']}, {report['machine']['processors']} processors", fontsize=9
    )
    figure.savefig(path, dpi=110)


def render_clip(path: Path) -> Path:
    """Render a clip as hard to decode as a camera's: a panning textured background, moving objects, noise."""
    width, height = CLIP_SIZE
    rng = np.random.default_rng(0)
    coarse = [rng.normal(0, 40 / 2**level, (height // 8 * 2**level, width // 4 * 2**level, 3)) for level in range(3)]
    ground: Any = 128 + sum(np.kron(part, np.ones((8 // 2**level, 8 // 2**level, 1))) for level, part in enumerate(coarse))
    noise = rng.normal(0, 4, (8, height, width, 1))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=CLIP_RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for number in range(CLIP_PICTURES):
            picture = ground[:, 2 * number : 2 * number + width] + noise[number % len(noise)]
            for thing in range(6):
                y, x = int(90 * thing + 40 * np.sin(number / 20 + thing)), (150 * thing + (3 + thing) * number) % (width - 120)
                picture[y : y + 120, x : x + 120] = 40 * thing
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
