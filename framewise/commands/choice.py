"""Comparison of backbones on a user's own annotations, for ``framewise evaluate --backbones``."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from framewise.assembly import Assembly
from framewise.commands.offline import examples_of, measurable
from framewise.commands.shown import progress_bar
from framewise.controls import Example, TrainedModel
from framewise.controls.examples import completed
from framewise.core.errors import ConfigError, RequestError
from framewise.core.files import read_text
from framewise.core.storage import write_readable_json
from framewise.core.tables import table_lines
from framewise.features.backbone import Backbones
from framewise.labeling_config import without_backbones
from framewise.learning.auto import Thorough, learn_thoroughly
from framewise.learning.comparison import Lead, leads
from framewise.learning.quality import WITH_INTERVAL, Counts, counts_by_video
from framewise.settings import Settings

HEADINGS = ("BACKBONE", "FEATURES", "F1", "ON OTHER VIDEOS", "F1@50", "ON OTHER VIDEOS", "BEHIND THE BEST, F1@50")


@dataclass(frozen=True)
class Tried:
    """A backbone's examples for one learner, by the places of their tasks."""

    learner: TrainedModel
    examples: dict[int, Example]


@dataclass(frozen=True)
class Measured:
    """Held-out scores of a backbone. num_features: of a row. counts: as for ``leads``."""

    num_features: int
    learned: Thorough
    counts: Counts


def evaluate_backbones(
    settings: Settings, export: Path, config: Path, names: Sequence[str], as_json: Path | None, print_json: bool
) -> int:
    """Evaluate a training on an export with each backbone, on the same videos, and print which is best. Nothing is published.

    Returns 1 if no control could be measured. Raises FramewiseError.
    """
    label_config = without_backbones(read_text(config))
    backbones = Backbones(settings.model_root, settings.data_dir)
    for name in names:
        backbones.fetch_official(name)  # all of them, before hours are spent on the first
    tried: dict[str, dict[str, Tried]] = {}
    for name in names:
        backend = Assembly(replace(settings, model_path=name)).backend
        learners, tasks = measurable(backend, label_config, export)
        for learner in _on_videos(learners):
            with progress_bar(f"{learner.name}, {name}: reading videos") as progress:
                found = Tried(learner, examples_of(backend, learner, tasks, progress))
            tried.setdefault(learner.name, {})[name] = found
    report = {control: _compared(control, candidates, print_json) for control, candidates in tried.items()}
    if print_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    if as_json:
        write_readable_json(as_json, report)
    return 0 if any(report.values()) else 1


def _on_videos(learners: Sequence[TrainedModel]) -> list[TrainedModel]:
    found = [learner for learner in learners if any(control.settings.is_on_video for control in learner.controls)]
    if not found:
        raise ConfigError("--backbones compares networks that see pictures, but no control that learns is on a Video")
    return found


def _compared(control: str, candidates: Mapping[str, Tried], quiet: bool) -> dict[str, Any] | None:
    """Report on one control, which is printed unless ``quiet``; None if it cannot be measured."""
    common = set.intersection(*(set(tried.examples) for tried in candidates.values()))
    if not common:
        raise RequestError(f"{control}: no annotated task can be used with all of these backbones")
    measured: dict[str, Measured] = {}
    for name, tried in candidates.items():
        with progress_bar(f"{control}, {name}: learning") as progress:
            settings_of = tried.learner.settings
            examples = completed(settings_of, [tried.examples[place] for place in sorted(common)])
            learned = learn_thoroughly([example.video for example in examples], settings_of.label_names, progress)
        first = next(iter(measured.values()), None)
        measured[name] = _measured(examples, learned, first)
    if not quiet:
        print(f"{control}: {len(common)} annotated videos")
    qualities = {name: of.learned.quality for name, of in measured.items()}
    if None in qualities.values():
        if not quiet:
            print("held-out scores: none, because pieces of one recording say nothing of the next; annotate another one")
        return None
    weak = any(quality is not None and quality.weak for quality in qualities.values())
    best, found = leads({name: of.counts for name, of in measured.items()}, weak)
    report = {
        "best": best,
        "videos": len(measured[best].counts),
        "backbones": {
            name: {
                "features": of.num_features,
                "quality": quality.to_json() if (quality := of.learned.quality) else None,
                "behind_the_best": _plain(found.get(name)),
            }
            for name, of in measured.items()
        },
    }
    if not quiet:
        _print(report, found)
    return report


def _measured(examples: Sequence[Example], learned: Thorough, first: Measured | None) -> Measured:
    """Counts on the same truth for all backbones: that of the first, because points become intervals by what is seen."""
    num_features = examples[0].rows.read(np.zeros(1, np.int64))[0].shape[1]
    if not learned.held_out:
        return Measured(num_features, learned, counts_by_video([], [], [], [], len(learned.classifier.labels)))
    truth = learned.truth if first is None else first.learned.truth
    predicted = [scores >= 0.5 for scores in learned.held_out]
    known, groups = [example.known for example in examples], [example.video.group for example in examples]
    counts = counts_by_video(truth, predicted, known, groups, len(learned.classifier.labels))
    return Measured(num_features, learned, counts)


def _plain(lead: Lead | None) -> dict[str, Any] | None:
    if lead is None:
        return None
    interval = [None if math.isnan(end) else round(end, 4) for end in lead.interval]
    return {"f1@50": round(lead.difference, 4), "interval": interval, "clear": lead.is_clear}


def _print(report: Mapping[str, Any], found: Mapping[str, Lead]) -> None:
    rows = [HEADINGS]
    for name, of in sorted(report["backbones"].items(), key=lambda item: -_score(item[1])):
        quality = of["quality"]
        scores = []
        for key in WITH_INTERVAL:
            scores += [_number(quality["mean"][key]), _interval(quality["interval"][key])]
        behind = found.get(name)
        told = "best" if behind is None else f"{behind.difference:.2f} ({_interval(behind.interval)})"
        rows.append((name, str(of["features"]), *scores, told))
    for line in table_lines(rows):
        print(line)
    print(f"held out: {report['videos']} different videos, the same for all")
    unclear = [name for name, lead in found.items() if not lead.is_clear]
    print(_verdict(report["best"], unclear, len(found)))


def _verdict(best: str, unclear: Sequence[str], others: int) -> str:
    if not unclear:
        return f"{best} is best, beyond what chance explains"
    than = ", ".join(unclear)
    cure = "annotate more videos, or take the one that costs least (framewise backbone NAME)"
    if len(unclear) == others:
        return f"no difference can be told: {best} may be best by chance; {cure}"
    return f"{best} is best; no difference can be told between it and {than}: {cure}"


def _score(of: Mapping[str, Any]) -> float:
    score = of["quality"]["mean"]["f1@50"]
    return -1.0 if score is None else float(score)


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


def _interval(ends: Sequence[float | None]) -> str:
    low, high = ends
    return "-" if low is None or high is None or math.isnan(low) else f"{low:.2f} to {high:.2f}"
