"""Commands on files, without Label Studio: train on an export, evaluate that, predict tasks.

Access to media, caching and versions are as in the service; these commands may read nothing more.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from framewise.assembly import Assembly
from framewise.backend import Backend
from framewise.backend.file_notes import FileNotes
from framewise.backend.identifiers import NO_PROJECT, OFFLINE_NUMBER, is_id
from framewise.backend.predictions import TaskRequest, prediction
from framewise.backend.projects import Projects, model_version, trained_models
from framewise.commands.shown import progress_bar, say
from framewise.controls import Example, Learner, Medium, TrainedModel, sources_of
from framewise.controls.examples import completed
from framewise.core.errors import ConfigError, NotKnown, RequestError, brief
from framewise.core.files import read_text
from framewise.core.isolation import isolate_errors
from framewise.core.progress import Progress, part_of
from framewise.core.storage import write_readable_json
from framewise.core.tables import table_lines
from framewise.core.task_files import read_task_file
from framewise.exports import annotated_tasks, check_belonging, labeling_config_of, learned_from, store_export
from framewise.labeling_config import ControlSettings
from framewise.learning.auto import learn_thoroughly
from framewise.learning.folds import METHODS
from framewise.learning.quality import F1S, UNMEASURED, WITH_INTERVAL
from framewise.media.notes import shared
from framewise.settings import Settings
from framewise.store.annotations import AnnotatedTask

HEADINGS = ("LABEL", *(name.upper() for name in F1S), "AP", "TRUE SEGMENTS", "PREDICTED")
NOT_MEASURED = "none, because pieces of one recording say nothing of the next; annotate another one"
LSTM = 'none: model_classifier_type="lstm" is not measured on held-out videos'

Quality = Mapping[str, Any]  # as of ``learning.quality.Quality.to_json``


def train(settings: Settings, export: Path, config: Path | None, project: str | None) -> int:
    """Train on the annotations of an export, and publish the version as the service does.

    project: a known project; None: a new one, which is removed if the training fails. Raises FramewiseError.
    """
    tasks = annotated_tasks(export)
    assembly = Assembly(settings)
    key = assembly.known.find(project) if project else _new_key(assembly)
    label_config = labeling_config_of(assembly, key, config)
    learners = _trainable(assembly.backend.learners(key, label_config))
    check_belonging(export, tasks, _controls(learners))
    try:
        store_export(assembly.annotations, key, label_config, tasks, export.stem)
        if not assembly.annotations.is_annotated(key):
            raise RequestError(f"{export}: none of its tasks has an annotation that counts; skipped ones do not")
        with progress_bar("training") as progress:
            notes = assembly.backend.train_now(key, progress)
    except BaseException:
        if not project:
            assembly.known.forget(key)
            assembly.registry.remove_models(key)
        raise
    for note in dict.fromkeys(notes):  # it learns quickly and thoroughly, from the same tasks
        say(note)
    files = FileNotes(learners, assembly.annotations.annotated_tasks(key)).on_all(assembly.facts.of(key))
    for file_note in shared(files):
        say(file_note.text)
    for learner in learners:
        _print_trained(assembly, learner)
    return 0


def evaluate(
    settings: Settings, export: Path, config: Path, as_json: Path | None, picture: Path | None, print_json: bool = False
) -> int:
    """Evaluate a training on an export by cross-validation, and print the scores. Nothing is published or stored.

    print_json: print JSON, as for ``as_json``, instead of tables. Returns 1 if no control could be measured. Raises
    FramewiseError.
    """
    label_config = read_text(config)
    backend = Assembly(settings).backend
    learners, tasks = measurable(backend, label_config, export)
    measured: dict[str, Quality | None] = {}
    for learner in learners:
        name, settings_of = learner.name, learner.settings
        with progress_bar(f"{name}: reading videos") as progress:
            examples = list(examples_of(backend, learner, tasks, progress).values())
        with progress_bar(f"{name}: learning") as progress:
            videos = [example.video for example in completed(settings_of, examples)]
            learned = learn_thoroughly(videos, settings_of.label_names, progress)
        measured[name] = learned.quality.to_json() if learned.quality else None
        if not print_json:
            print(f"{name}: {len(examples)} annotated videos")
            _print_quality(measured[name])
            _print_evidence(learned.classifier.evidence(), learned.explained)
    if print_json:
        print(json.dumps(measured, indent=2, ensure_ascii=False))
    if as_json:
        write_readable_json(as_json, measured)
    told = {name: quality for name, quality in measured.items() if quality}
    if picture and told:
        draw_reliability(told, picture)
    return 0 if told else 1


def measurable(backend: Backend, label_config: str, export: Path) -> tuple[list[TrainedModel], list[AnnotatedTask]]:
    """Learners of a labeling config, and the tasks of an export from which they learn. Raises ConfigError, RequestError."""
    learners = _trainable(backend.learners(NO_PROJECT, label_config))
    if unmeasured := [learner.name for learner in learners if not learner.can_refine]:
        raise ConfigError(f'{brief(unmeasured)}: {LSTM}; leave it out, or set model_classifier_type="auto"')
    exported = annotated_tasks(export)
    check_belonging(export, exported, _controls(learners))
    tasks = learned_from(label_config, exported)
    if not tasks:
        raise RequestError(f"{export}: none of its tasks has an annotation that counts; skipped ones do not")
    return learners, list(tasks)


def predict(
    settings: Settings, tasks_file: Path, config: Path | None, project: str | None, version: str | None, output: Path
) -> int:
    """Write predictions of tasks for Label Studio's import. Failed tasks are named and left out; then it returns 1.

    project: its version predicts; simple mode needs none. version: instead of the one in use. Raises FramewiseError.
    """
    items = read_task_file(tasks_file)
    assembly = Assembly(settings)
    key = assembly.known.find(project) if project else NO_PROJECT
    label_config = labeling_config_of(assembly, key, config)
    registry = assembly.registry.with_version(key, version) if version else assembly.registry
    projects = Projects(replace(assembly.parts, registry=registry), assembly.annotations, assembly.jobs.states)
    learners = projects.learners(key, label_config)
    for learner in learners:
        if not learner.version():
            raise RequestError(_untrained(learner, key, bool(project)))
    predicted = []
    with progress_bar("predicting") as progress:
        for place, task in enumerate(items):
            with _isolated(task, place):
                predicted.append(_predicted(assembly, learners, task, place, part_of(progress, place, len(items))))
    write_readable_json(output, predicted)
    print(f"{output}: predictions of {len(predicted)} of {len(items)} tasks, {model_version(learners)}")
    return 0 if len(predicted) == len(items) else 1


# Projects and controls.


def _new_key(assembly: Assembly) -> str:
    """New project key that cannot be one of Label Studio's."""
    made = int(time.time())
    while assembly.known.rows(f"{OFFLINE_NUMBER}.{made}"):
        made += 1
    return f"{OFFLINE_NUMBER}.{made}"


def _trainable(learners: Sequence[Learner]) -> list[TrainedModel]:
    trainable = trained_models(learners)
    if not trainable:
        raise ConfigError('no control learns; set model_trainable="true" in the labeling config')
    return trainable


def _controls(learners: Sequence[TrainedModel]) -> list[ControlSettings]:
    return [control.settings for learner in learners for control in learner.controls]


def _untrained(learner: Learner, key: str, named: bool) -> str:
    name = learner.name
    if not named:
        return f"{name!r} is in trainable mode: choose a project's version with --project; framewise versions lists them"
    why = "learned from another backbone" if learner.is_outdated() else "is not trained yet"
    return f"{name!r} of project {key} {why}; run: framewise train EXPORT.json --project {key}"


# Videos.


def examples_of(
    backend: Backend, learner: TrainedModel, tasks: Sequence[AnnotatedTask], progress: Progress
) -> dict[int, Example]:
    """Examples of all usable tasks, by their places among the tasks; the others are named. Raises RequestError if there is
    none."""
    examples = {}
    for done, task in enumerate(tasks):
        with _isolated({"id": task.task}, done):
            media = []
            for source in learner.sources(task.data):
                content, features = backend.features_now(source, task.task, part_of(progress, done, len(tasks)))
                media.append(Medium(source.control, features, content))
            examples[done] = learner.task_example(media, task.data, task.result, task.labels, task.frame_rates)
            for note in examples[done].notes:
                say(f"task {task.task}: {note}")
    if not examples:
        raise RequestError("no annotated task can be used")
    return examples


def _predicted(assembly: Assembly, learners: Sequence[Learner], task: Any, place: int, progress: Progress) -> dict[str, Any]:
    """Task with its prediction. Raises FramewiseError."""
    if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
        raise RequestError(f"expected an object 'data', found {brief(task)}")
    number = task["id"] if is_id(task.get("id")) else None
    asked = TaskRequest({"id": number or 0, "data": task["data"]})
    sources = sources_of(learners, task["data"])
    for done, source in enumerate(sources):
        step = part_of(progress, done, len(sources))
        asked.add(source, assembly.backend.features_now(source, number, step)[1])
    own = {} if number is None else {"id": number}
    return {**own, "data": task["data"], "predictions": [prediction(model_version(learners), asked)]}


def _isolated(task: Any, place: int) -> AbstractContextManager[None]:
    """Context that reports errors of one task, so that the others continue."""
    number = task.get("id") if isinstance(task, Mapping) else None
    name = f"task {number}" if is_id(number) else f"item {place + 1}"
    return isolate_errors(lambda failure: say(f"{name} is left out: {failure.text}"))


# Output.


def _print_trained(assembly: Assembly, learner: TrainedModel) -> None:
    """Print the newest version of a learner, with its scores."""
    name, key = learner.name, learner.project
    newest = next((v for v in assembly.registry.versions(key) if v["control"] == name), None)
    if newest is None:
        raise NotKnown(f"project {key}, {name}: its version is gone; was the project forgotten meanwhile?")
    use = "in use" if newest["current"] else "kept; another version is pinned"
    print(f"project {key}, {name}: {newest['version']}, of {newest['videos']} annotated videos, {use}")
    _print_quality(newest.get("quality"), NOT_MEASURED if learner.can_refine else LSTM)


def _print_quality(quality: Quality | None, otherwise: str = NOT_MEASURED) -> None:
    """Print the scores on held-out videos, one line per label."""
    if not quality:
        print(f"held-out scores: {otherwise}")
        return
    rows = [HEADINGS]
    for label, scores in quality["labels"].items():
        rows.append((label, *_scores(scores), str(scores["true_segments"]), str(scores["predicted_segments"])))
    weak = "~" * bool(quality["weak"])
    rows.append(("mean of the labels", *(weak + score for score in _scores(quality["mean"])), "", ""))
    for line in table_lines(rows):
        print(line)
    method = METHODS.get(quality["method"], quality["method"])
    print(f"held out: {quality['videos']} different videos, {method}")
    for name in WITH_INTERVAL:
        low, high = quality["interval"][name]
        if low is not None:
            print(f"mean {name.upper()} on many other videos: {low:.2f} to {high:.2f} in nine cases of ten")
    if any(scores["f1"] is None and scores["true_segments"] for scores in quality["labels"].values()):
        print(f"-: {UNMEASURED}")
    if weak:
        print("~: measured on few videos; another one may change it much")


def _print_evidence(evidence: Mapping[str, str], explained: Mapping[str, Mapping[str, float]]) -> None:
    """Print the main evidence of each label, and the share of its variance that each kind explains in left-out videos."""
    if not any(explained.values()):
        return
    kinds = list(next(kinds for kinds in explained.values() if kinds))
    rows = [("EXPLAINED BY", *(kind.upper() for kind in kinds), "TOLD BY")]
    for label, of_label in explained.items():
        rows.append((label, *(f"{of_label[kind]:.2f}" if kind in of_label else "-" for kind in kinds), evidence[label]))
    print()
    for line in table_lines(rows):
        print(line)
    print("share of a label's variance in left-out videos that each kind of evidence explains alone; below 0 it misleads")


def _scores(scores: Mapping[str, float | None]) -> list[str]:
    return ["-" if (score := scores[name]) is None else f"{score:.2f}" for name in (*F1S, "average_precision")]


def draw_reliability(measured: Mapping[str, Quality], path: Path) -> None:
    """Plot how often predicted regions are correct, by score: one panel per control, one point per bin."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(measured), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, quality) in zip(figure.subplots(1, len(measured), squeeze=False)[0], measured.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
        bins = quality["reliability"]
        axis.plot([b[0] for b in bins], [b[1] for b in bins], "o-", color="tab:blue", label="predicted regions")
        for score, right, count in bins:
            axis.annotate(str(count), (score, right), textcoords="offset points", xytext=(-6, -14), ha="right", fontsize=8)
        axis.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="mean score of the regions", title=name)
        axis.set_ylabel("share of correct regions (IoU of at least 0.5)")
        axis.legend(loc="upper left", fontsize=8)
    figure.suptitle("Are scores probabilities?\nRegions of held-out videos, with counts", fontsize=10)
    figure.savefig(path, dpi=110, format="png")
