"""Measure ``framewise sync estimate`` on recordings with known truth, and compare it with other tools.

    python -m tools.sync_benchmark                       # rendered sound and pictures; 200 unrelated pairs of each
    python -m tools.sync_benchmark --peers PYTHON        # the same sounds with audio-offset-finder, syncstart and audalign
    python -m tools.sync_benchmark --fit                 # the constants of framewise/sync/offsets/confidence.py
    python -m tools.sync_benchmark --folder FOLDER       # also your own recordings that started together
    python -m tools.sync_benchmark --hour                # time and memory for two recordings of an hour

PYTHON is the interpreter of a separate environment with `pip install audio-offset-finder syncstart audalign`, and FFmpeg on
the path.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from tqdm import tqdm

from framewise.core.tables import table_lines
from framewise.sync.offsets.combine import Answer, by_picture, by_sound
from framewise.sync.offsets.material import Material
from framewise.sync.offsets.movement import measure_movement
from framewise.sync.offsets.sound import analyse, decode_sound
from tools.sync_material import KINDS, Take, make, random_takes, record
from tools.sync_scenes import film, make_scene, random_camera

REACH = 20.0
SUFFIXES = (".mp4", ".mp3", ".wav", ".mov", ".mkv", ".webm")
MINIMUM = 0.2
SOUND_SECONDS = 75.0
RIGHT_AUDIO, RIGHT_VISUAL = 0.005, 1 / 30
PEER_TIMEOUT = 120


@dataclass(frozen=True)
class Item:
    """A recording: its scene, its start on the scene's clock, and its clock's drift."""

    path: str
    scene: int
    kind: str
    offset: float
    seconds: float
    drift_ppm: float


@dataclass(frozen=True)
class Row:
    """Answer about a pair. error: seconds, None if the two are unrelated or there is no answer."""

    related: bool
    kind: str
    answered: bool
    error: float
    drift_error: float | None
    sure: float
    features: tuple[float, ...]
    raw_error: float
    seconds: float


def make_sounds(seed: int, folder: str) -> list[Item]:
    """Make two recordings of one sound."""
    rng = np.random.default_rng([1, seed])
    kind = KINDS[seed % len(KINDS)]
    sound = make(kind, rng, SOUND_SECONDS)
    items = []
    for number, take in enumerate(random_takes(rng, SOUND_SECONDS)):
        path = record(sound, take, rng, Path(folder) / f"sound{seed:03}-{number}")
        items.append(Item(str(path), seed, kind, take.offset, take.seconds, take.drift_ppm))
    return items


def make_films(seed: int, folder: str) -> list[Item]:
    """Make the recordings of two cameras in one scene."""
    rng = np.random.default_rng([2, seed])
    scene, items = make_scene(rng, 34), []
    for number in range(2):
        camera = random_camera(rng, float(rng.uniform(0, 12)), float(rng.uniform(16, 22)))
        path = film(scene, camera, rng, Path(folder) / f"film{seed:03}-{number}.mp4")
        items.append(Item(str(path), seed, "film", camera.offset, camera.seconds, 0.0))
    return items


def _material(item: Item, scratch: Path) -> Material:
    path = Path(item.path)
    made = Material(path, path.name, item.seconds, None, None, None)
    if item.kind == "film":
        made.movement, made.frame_rate = measure_movement(path), Fraction(30)
    else:
        made.sound = analyse(decode_sound(path, scratch / f"{path.name}.raw"))
    return made


def judge(one: Item, two: Item, a: Material, b: Material) -> Row:
    """Compare the answer about two recordings with the truth."""
    related = one.scene == two.scene
    true = (two.offset - one.offset) / (1 + one.drift_ppm * 1e-6)
    began = time.perf_counter()
    answer: Answer = by_picture(a, b, REACH, MINIMUM) if one.kind == "film" else by_sound(a, b, REACH, MINIMUM)
    took = time.perf_counter() - began
    drift = abs(answer.drift * 1e6 - two.drift_ppm) if answer.drift is not None and related else None
    error = abs(answer.offset - true) if answer.offset is not None and related else np.inf
    raw = abs(answer.best - true) if answer.best is not None else np.inf
    return Row(related, one.kind, answer.offset is not None, error, drift, answer.confidence, answer.features, raw, took)


def run_pairs(items: Sequence[Sequence[Item]], unrelated: int, scratch: Path, what: str) -> list[Row]:
    """Run each scene's two recordings, and ``unrelated`` pairs of different scenes, of the same kind if there are kinds."""
    every = [item for pair in items for item in pair]
    materials = {item.path: _material(item, scratch) for item in tqdm(every, desc=f"measuring {what}", disable=None)}
    pairs = [(pair[0], pair[1]) for pair in items if len(pair) == 2]
    others = [(a, b) for a, b in combinations(every, 2) if a.scene != b.scene and a.kind == b.kind]
    rng = np.random.default_rng(3)
    pairs += [others[i] for i in rng.permutation(len(others))[:unrelated]]
    return [judge(a, b, materials[a.path], materials[b.path]) for a, b in tqdm(pairs, desc=f"comparing {what}", disable=None)]


def report(name: str, rows: Sequence[Row], right: float) -> None:
    """Print errors, answers, false answers, and a table of confidences against truth."""
    related, unrelated = [r for r in rows if r.related], [r for r in rows if not r.related]
    answered = [r for r in related if r.answered]
    errors = np.array([r.error for r in answered]) * 1000
    drifts = np.array([r.drift_error for r in answered if r.drift_error is not None])
    print(f"\n{name}: {len(related)} related pairs, {len(unrelated)} unrelated")
    print(f"  answered {len(answered)} of {len(related)} ({len(answered) / max(1, len(related)):.1%})")
    if len(errors):
        print(
            f"  error: mean {errors.mean():.3f} ms, median {np.median(errors):.3f}, "
            f"95 % {np.percentile(errors, 95):.3f}, max {errors.max():.3f}"
        )
        print(f"  wrong (over {1000 * right:.1f} ms): {(errors > 1000 * right).sum()}")
    if len(drifts):
        print(
            f"  drift error: mean {drifts.mean():.2f} ppm, max {drifts.max():.2f}, "
            f"over 5 ppm: {(drifts > 5).sum()} of {len(drifts)}"
        )
    sure = [r for r in unrelated if r.sure >= 0.5 and r.answered]
    print(f"  unrelated: {len(sure)} answered with confidence >= 0.5, {sum(r.answered for r in unrelated)} answered at all, "
          f"highest confidence {max((r.sure for r in unrelated), default=0):.3f}")  # fmt: skip
    print(f"  comparing a pair: median {1000 * np.median([r.seconds for r in rows]):.0f} ms")
    table = [("  confidence", "pairs", "right", "mean confidence")]
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        inside = [r for r in rows if low <= r.sure < high]
        good = [r.related and r.raw_error <= right for r in inside]
        mean = f"{np.mean([r.sure for r in inside]):.2f}" if inside else "-"
        table.append((f"  {low:.1f}-{min(high, 1):.1f}", str(len(inside)), f"{np.mean(good):.2f}" if good else "-", mean))
    for line in table_lines(table):
        print(line)


def fit(rows: Sequence[Row], right: float) -> tuple[float, tuple[float, ...]]:
    """Fit (bias, weights) of the logistic function that separates right from wrong answers; weights are not negative. Both
    classes have half of the weight, and a ridge keeps the weights finite if they are separable."""
    kept = [r for r in rows if r.features]
    x = np.array([r.features for r in kept])
    y = np.array([r.related and r.raw_error <= right for r in kept], float)
    mean, scale = x.mean(0), x.std(0) + 1e-9
    z = (x - mean) / scale
    weight = np.where(y > 0, 0.5 / max(y.mean(), 1e-9), 0.5 / max(1 - y.mean(), 1e-9))

    def loss(p: npt.NDArray[np.float64]) -> float:
        total = p[0] + z @ p[1:]
        return float(np.mean(weight * np.logaddexp(0, np.where(y > 0, -total, total))) + 0.002 * np.sum(p[1:] ** 2))

    found = minimize(loss, np.zeros(x.shape[1] + 1), bounds=[(None, None)] + [(0, None)] * x.shape[1]).x
    weights = found[1:] / scale
    return float(found[0] - weights @ mean), tuple(float(w) for w in weights)


PEERS = {
    "audio-offset-finder": """
import json, sys
from audio_offset_finder.audio_offset_finder import find_offset_between_files
r = find_offset_between_files(sys.argv[1], sys.argv[2], trim=120)
print("ANSWER", json.dumps([float(r["time_offset"]), float(r["standard_score"])]))
""",
    "syncstart": """
import json, sys, matplotlib; matplotlib.use("Agg")
from syncstart import file_offset
one, two = sys.argv[1:3]
sys.argv = ["syncstart", "-q", "-s", "-t", "120", one, two]
name, offset = file_offset()
print("ANSWER", json.dumps([float(offset) if name == one else -float(offset), None]))
""",
    "audalign": """
import json, os, subprocess, sys, tempfile
import audalign
with tempfile.TemporaryDirectory() as f:
    a, b = (os.path.join(f, n + ".wav") for n in "ab")
    for source, wav in zip(sys.argv[1:3], (a, b)):
        subprocess.run(["ffmpeg", "-v", "error", "-i", source, wav], check=True)
    r = audalign.align_files(a, b, recognizer=audalign.CorrelationRecognizer())
    s = {k[0]: v for k, v in r.items() if k[:1] in "ab" and k[1:2] == "."}
    print("ANSWER", json.dumps([s["b"] - s["a"], None]))
""",
}


def run_peers(python: str, pairs: Sequence[tuple[Item, Item]]) -> None:
    """Run the same pairs with other packages and ours, each in its own process, one after another."""
    ours = (
        "import json, sys\nfrom pathlib import Path\n"
        "from framewise.sync.offsets.estimate import EstimateOptions, estimate_offsets\n"
        "r = estimate_offsets([Path(p) for p in sys.argv[1:3]], EstimateOptions(method='audio')).recordings[1]\n"
        "print('ANSWER', json.dumps([r.offset, r.confidence]))"
    )
    table = [("package", "related right (50 ms)", "mean error of those", "answers to unrelated", "seconds a pair", "failed")]
    results: dict[str, list[tuple[bool, float | None, float, float, bool]]] = {name: [] for name in ("framewise", *PEERS)}
    for one, two in tqdm(pairs, desc="beside others", disable=None):
        true = two.offset - one.offset
        for name, code in {"framewise": ours, **PEERS}.items():
            began = time.perf_counter()
            answer, failed = _ask(sys.executable if name == "framewise" else python, code, one.path, two.path)
            results[name].append((one.scene == two.scene, answer, true, time.perf_counter() - began, failed))
    for name, found in results.items():
        errors = [abs(answer - true) for related, answer, true, _, _ in found if related and answer is not None]
        right = [error for error in errors if error <= 0.05]
        count = sum(related for related, *_ in found)
        false = sum(answer is not None for related, answer, *_ in found if not related)
        mean = f"{1000 * np.mean(right):.2f} ms" if right else "-"
        took = np.median([row[3] for row in found])
        broken = sum(row[4] for row in found)
        table.append((name, f"{len(right)} of {count}", mean, f"{false} of {len(found) - count}", f"{took:.1f}", str(broken)))
    print("\nSide by side, one pair a process (a package without a confidence answers everything):")
    for line in table_lines(table):
        print(line)


def _ask(python: str, code: str, one: str, two: str) -> tuple[float | None, bool]:
    path = os.pathsep.join((str(Path(python).parent), os.environ.get("PATH", "")))  # their FFmpeg may be there
    command, env = [python, "-c", code, one, two], {**os.environ, "PATH": path}
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PEER_TIMEOUT, env=env)
    except subprocess.TimeoutExpired:
        return None, True
    lines = [line for line in run.stdout.splitlines() if line.startswith("ANSWER ")]
    if not lines:
        return None, True
    value = json.loads(lines[-1][7:])[0]
    return (None if value is None else float(value)), False


# Peak memory in KiB, read by the process itself: the system's count for a child starts with the peak of its parent.
MEASURED = """
import sys
from framewise.commands.cli import main
code = main(sys.argv[1:])
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
sys.exit(code)
"""


def run_hour(scratch: Path) -> None:
    """Run two recordings of an hour each in a separate process, and print seconds and peak memory."""
    rng = np.random.default_rng(5)
    sound = np.concatenate([make(KINDS[i % 3], rng, 60) for i in range(61)])
    paths = [
        record(sound, Take(3.0, 3600, 0, 10.0, codec="aac"), rng, scratch / "hour0"),
        record(sound, Take(14.25, 3600, 120, 10.0, 0.25, codec="aac"), rng, scratch / "hour1"),
    ]
    began = time.perf_counter()
    asked = ["sync", "estimate", *map(str, paths), "--method", "audio"]
    files = ["--output", str(scratch / "sync.json"), "--log", str(scratch / "sync.log")]
    run = subprocess.run([sys.executable, "-c", MEASURED, *asked, *files], check=True, stdout=subprocess.PIPE, text=True)
    print(run.stdout, end="")
    most = int(run.stdout.rsplit(maxsplit=1)[1]) / 1024
    print(f"\n2 x 60 minutes (true: +11.25 s, +120 ppm): {time.perf_counter() - began:.1f} s, {most:.0f} MiB at most")


def run_folder(folder: Path, scratch: Path) -> None:
    """Run recordings of a folder that started together, and compare the answer for each pair with 0."""
    from framewise.sync.offsets.estimate import EstimateOptions, estimate_offsets

    for place in sorted({p.parent for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES}):
        paths = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES)
        if len(paths) < 2:
            continue
        print(f"\n{place}")
        made = estimate_offsets(paths, EstimateOptions())
        rows = [
            (r.name, f"{r.offset:+.4f} s" if r.offset is not None else "-", f"{r.confidence:.2f}", r.reason)
            for r in made.recordings
        ]
        for line in table_lines(rows):
            print(line)


def _made(maker: Callable[[int, str], list[Item]], count: int, scratch: Path, jobs: int, what: str) -> list[list[Item]]:
    with ProcessPoolExecutor(jobs) as pool:
        return list(
            tqdm(pool.map(maker, range(count), [str(scratch)] * count), total=count, desc=f"making {what}", disable=None)
        )


def _run(
    title: str, items: Sequence[Sequence[Item]], right: float, constant: str, args: argparse.Namespace, scratch: Path
) -> None:
    if not items:
        return
    rows = run_pairs(items, args.unrelated, scratch, title.lower())
    report(title, rows, right)
    if args.strangers and title == "Visual":
        paths = sorted(p for p in args.strangers.rglob("*") if p.suffix.lower() in SUFFIXES)
        strangers = [[Item(str(path), -1 - number, "film", 0.0, 0.0, 0.0)] for number, path in enumerate(paths)]
        more = [row for row in run_pairs(strangers, 100 * args.unrelated, scratch, "strangers") if not row.related]
        report(f"Visual, films in {args.strangers}", more, right)
        rows += more
    if args.fit:
        bias, weights = fit(rows, right)
        print(f"{constant} = Logistic({bias:.2f}, ({', '.join(f'{w:.2f}' for w in weights)}))")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=int, default=150, help="related pairs of sound; 150")
    parser.add_argument("--films", type=int, default=40, help="related pairs of film; 40")
    parser.add_argument("--unrelated", type=int, default=200, help="unrelated pairs of each; 200")
    parser.add_argument("--strangers", type=Path, metavar="FOLDER", help="unrelated films")
    parser.add_argument("--fit", action="store_true", help="print the constants of the confidence")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of an environment with other packages")
    parser.add_argument("--peer-pairs", type=int, default=24, help="pairs for other packages; 24, a third unrelated")
    parser.add_argument("--folder", type=Path, action="append", default=[], help="your own recordings")
    parser.add_argument("--hour", action="store_true", help="two recordings of an hour")
    parser.add_argument("--jobs", type=int, default=2, help="processes that render material; 2")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        sounds = _made(make_sounds, args.sounds, scratch, args.jobs, "sounds")
        _run("Audio", sounds, RIGHT_AUDIO, "AUDIO", args, scratch)
        films = _made(make_films, args.films, scratch, args.jobs, "films")
        _run("Visual", films, RIGHT_VISUAL, "VISUAL", args, scratch)
        if args.peers:
            related = [(pair[0], pair[1]) for pair in sounds]
            third = args.peer_pairs // 3
            unrelated = [(related[i][0], related[(i + 3) % len(related)][1]) for i in range(third)]
            run_peers(args.peers, [*related[: args.peer_pairs - third], *unrelated])
        for folder in args.folder:
            run_folder(folder, scratch)
        if args.hour:
            run_hour(scratch)


if __name__ == "__main__":
    main()
