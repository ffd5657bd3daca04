"""``framewise versions``: list of trained versions, with scores and use."""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from framewise.commands.flags import PROJECT_HELP, Commands, add_folders, settings_of
from framewise.commands.service import print_table, service_database
from framewise.store.projects import KnownProjects
from framewise.store.registry import Registry

HEADINGS = ("PROJECT", "CONTROL", "VERSION", "TRAINED AT (UTC)", "VIDEOS", "F1", "F1@50", "")


def add_parser(commands: Commands) -> None:
    summary = "list the trained versions, their scores, and which are in use"
    parser = commands.add("versions", summary, "framewise versions 12", "docs/operations.md, Versions")
    parser.add_argument("project", nargs="?", metavar="PROJECT", help=f"{PROJECT_HELP} (default: all)")
    parser.add_argument("--json", action="store_true", help="print the answer of GET /versions")
    add_folders(parser, "model_root", "data_dir")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the trained versions of one project or of all. Raises NotKnown, SettingsError."""
    settings = settings_of(args)
    database = service_database(settings)
    key = KnownProjects(database).find(args.project) if args.project else None
    registry = Registry(settings.model_root, database)
    if args.json:
        print(json.dumps(registry.overview(key), indent=2, ensure_ascii=False))
    else:
        _print(registry.versions(key))


def _print(versions: Sequence[dict[str, Any]]) -> None:
    by_control = sorted(versions, key=lambda v: (_number(v["project"]), v["project"], v["control"]))  # newest first in each
    if not versions:
        print("nothing is trained yet")
        return
    print_table([HEADINGS, *(_row(v) for v in by_control)])
    if any(_mean(v) for v in versions):
        print("\nF1 and F1@50: the mean over the labels, on videos that were held out of the training.")
    if any(_is_weak(v) for v in versions):
        print("~: measured on few videos; another one may change it much.")
    for _, group in groupby(by_control, key=lambda v: (v["project"], v["control"])):
        for line in _offer(list(group)):
            print(line)


def _row(version: dict[str, Any]) -> tuple[str, ...]:
    mean = _mean(version)
    use = ", ".join(["in use"] * bool(version["current"]) + ["pinned"] * bool(version["pinned"]))
    trained_at = str(version.get("trained_at") or "").replace("T", " ").removesuffix("Z")
    scores = ["~" * _is_weak(version) + f"{mean[name]:.2f}" if name in mean else "" for name in ("f1", "f1@50")]
    videos = str(version.get("videos", ""))
    return (version["project"], version["control"], version["version"], trained_at, videos, *scores, use)


def _offer(versions: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield how to roll back if the version in use of a control was found clearly worse than another."""
    for version in versions:
        fallen = version.get("worse_than")
        if not version["current"] or not isinstance(fallen, dict):
            continue
        better, scores = fallen.get("version"), [fallen.get(name) for name in ("now", "then")]
        if better in [v["version"] for v in versions] and all(isinstance(score, float) for score in scores):
            yield (
                f"\nproject {version['project']}, {version['control']}: {version['version']} is worse than {better}: F1@50 "
                f"{scores[0]:.2f}, which was {scores[1]:.2f} on the same {fallen.get('videos')} videos."
            )
            yield f"To go back: framewise roll-back {version['project']} {better}"


def _mean(version: dict[str, Any]) -> dict[str, float]:
    """Held-out scores of a version, if it has any."""
    quality = version.get("quality")
    mean = quality.get("mean") if isinstance(quality, dict) else None
    return {k: float(v) for k, v in mean.items() if isinstance(v, int | float)} if isinstance(mean, dict) else {}


def _is_weak(version: dict[str, Any]) -> bool:
    return bool(_mean(version)) and bool(version["quality"].get("weak"))


def _number(key: str) -> int:
    head = key.split(".")[0]
    return int(head) if head.isdecimal() else 0
