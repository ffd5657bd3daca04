"""Transfer of labels from one recording to the others: exported tasks in, the same tasks with annotations or predictions out.

A task shows a recording if a field of its data is the address of a file with the recording's name. Either one task shows
several recordings, each with its own controls, or each recording has a task of its own. A series belongs to the recording that
it plays in sync with.
"""

import copy
import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from framewise.core.errors import ConfigError, MediaError, RequestError, brief
from framewise.core.left_out import left_out
from framewise.core.media_kinds import MEDIA_TAGS, expected_controls
from framewise.core.series_time import SeriesTimes
from framewise.core.task_fields import attribute_value
from framewise.core.timeline import Axis, FrameAxis, SampleAxis, SecondsAxis
from framewise.labeling_config import ControlSettings, attributes_of, parse_xml, read_interval_controls
from framewise.sync.labels import ANNOTATIONS, PREDICTIONS
from framewise.sync.labels.regions import LabelTrack, carried_id, carry
from framewise.sync.manifest import Manifest, Recording

# Label Studio prefixes the names of uploads with eight characters: /data/upload/3/1a2b3c4d-clip.mp4
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")

Task = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """A recording in a task. place: index of the task."""

    place: int
    tracks: tuple[LabelTrack, ...]


@dataclass
class CarriedLabels:
    """Labels carried to a recording. result: regions; for a prediction, those of the newest annotation.
    lost: the reason for each region that was not carried."""

    recording: str
    carried: int = 0
    cut: int = 0
    lost: list[str] = field(default_factory=list)
    result: list[dict[str, Any]] = field(default_factory=list)
    score: float = 0.0


@dataclass(frozen=True)
class CarryResult:
    """tasks: all tasks of the export, with the carried labels. model_version: of predictions."""

    tasks: list[Task]
    outcomes: list[CarriedLabels]
    model_version: str


def carry_labels(
    manifest: Manifest, config: str, tasks: Sequence[Task], source: str | None = None, kind: str = ANNOTATIONS,
    media_folder: Path | None = None,
) -> CarryResult:  # fmt: skip
    """Carry the regions of recording ``source`` (the reference if None) to all others whose offset is known.

    config: the labeling config. media_folder: folder of the series files that tasks refer to. Raises RequestError, ConfigError,
    RegionError, MediaError.
    """
    origin = manifest.recording(source or manifest.reference)
    if not origin.answered:
        raise RequestError(f"{origin.name}: its offset is not known ({origin.reason}), so nothing can be carried from it")
    places = _Places(manifest, config, media_folder)
    shown = places.shown(tasks)
    if origin.name not in shown:
        fields = sorted({control.value_key for control in places.controls})
        raise RequestError(f"no task shows {origin.name}: expected its file name in {brief(fields)}; was it renamed?")
    from_place, new_tasks = shown[origin.name], copy.deepcopy(list(tasks))
    annotations = _annotations(new_tasks[from_place.place], origin.name, kind)
    outcomes = []
    for recording in manifest.recordings:
        if recording is origin:
            continue
        outcome = CarriedLabels(recording.name, score=min(origin.confidence, recording.confidence))
        outcomes.append(outcome)
        if not recording.answered:
            outcome.lost.append(f"its offset is not known: {recording.reason or 'not answered'}")
        elif recording.name not in shown:
            outcome.lost.append("no task shows it")
        else:
            outcome.lost += places.left_out(annotations, from_place)
            _carry_to(new_tasks, annotations, from_place, shown[recording.name], kind, outcome)
    version = _model_version(manifest, outcomes)
    if kind == PREDICTIONS:
        _add_predictions(new_tasks, shown, outcomes, version)
    return CarryResult(new_tasks, outcomes, version)


def _annotations(task: Task, name: str, kind: str) -> list[dict[str, Any]]:
    """Annotations that count (skipped ones do not); only the newest if it becomes a prediction."""
    found = [a for a in task.get("annotations") or [] if isinstance(a, dict) and not a.get("was_cancelled")]
    if any(not isinstance(a.get("result"), list) for a in found):
        raise RequestError(
            f"the task of {name}: expected a list 'result' in every annotation; give Label Studio's Export > JSON"
        )
    if not found:
        raise RequestError(f"the task of {name} has no annotation that counts; skipped ones do not")
    newest = max(found, key=_age)
    return [newest] if kind == PREDICTIONS else found


def _age(annotation: Mapping[str, Any]) -> tuple[bool, str, int]:
    number = annotation.get("id")
    return (
        bool(annotation.get("ground_truth")),
        str(annotation.get("updated_at") or ""),
        number if isinstance(number, int) else 0,
    )


def _carry_to(
    tasks: list[Task], annotations: Sequence[dict[str, Any]], source: Shown, target: Shown, kind: str, outcome: CarriedLabels
) -> None:
    score = outcome.score if kind == PREDICTIONS else None
    added, of_all = [], set[str]()
    for annotation in annotations:
        regions, ids = _regions(annotation["result"], source, target, score, outcome)
        outcome.result, of_all = regions, of_all | ids
        if kind == ANNOTATIONS and source.place == target.place:
            annotation["result"] = [r for r in annotation["result"] if not _is_one_of(r, ids)] + regions
        elif kind == ANNOTATIONS and regions:
            added.append({"result": regions})
    if added:
        task = tasks[target.place]
        # In place of annotations that an earlier run carried.
        task["annotations"] = [a for a in task.get("annotations") or [] if not _was_carried(a, of_all)] + added


def _regions(
    result: Sequence[Any], source: Shown, target: Shown, score: float | None, outcome: CarriedLabels
) -> tuple[list[dict[str, Any]], set[str]]:
    """(carried regions, ids of all regions on controls of the target)."""
    regions, ids = list[dict[str, Any]](), set[str]()
    for from_track in source.tracks:
        for found in from_track.read(result):
            label = ", ".join(found.labels)
            where = f"{brief(found.id)} ({label}, {found.spans[0].start:.2f} s to {found.spans[-1].stop:.2f} s)"
            track = _track_for(from_track, found.labels, target.tracks)
            if track is None:
                outcome.lost.append(f"{where}: no control of it has the label")
                continue
            ids.add(carried_id(found, track))
            carried = carry(found, from_track.recording, track, score)
            if carried.region is None:
                outcome.lost.append(f"{where}: outside of it")
                continue
            outcome.carried, outcome.cut = outcome.carried + 1, outcome.cut + carried.cut
            regions.append(carried.region)
    return regions, ids


def _track_for(source: LabelTrack, labels: Sequence[str], tracks: Iterable[LabelTrack]) -> LabelTrack | None:
    """Control for a region, which must have all of its labels: preferably of the same name, or else of the same tag."""
    fitting = [track for track in tracks if set(labels) <= set(track.control.region_names)]
    name, tag = source.control.from_name, source.control.tag
    return min(fitting, key=lambda t: (t.control.from_name != name, t.control.tag != tag), default=None)


def _is_one_of(region: Any, ids: set[str]) -> bool:
    return isinstance(region, Mapping) and region.get("id") in ids


def _was_carried(annotation: Any, ids: set[str]) -> bool:
    result = annotation.get("result") if isinstance(annotation, Mapping) else None
    return bool(result) and isinstance(result, list) and all(_is_one_of(region, ids) for region in result)


def _model_version(manifest: Manifest, outcomes: Iterable[CarriedLabels]) -> str:
    """Version name from the manifest and the carried labels: the same labels give the same version."""
    text = json.dumps([outcome.result for outcome in outcomes], sort_keys=True)
    return f"sync-{manifest.request_id}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _add_predictions(tasks: list[Task], shown: Mapping[str, Shown], outcomes: Iterable[CarriedLabels], version: str) -> None:
    """Add one prediction to each task, with all that was carried to it."""
    by_place: dict[int, list[CarriedLabels]] = {}
    for outcome in outcomes:
        if outcome.result:
            by_place.setdefault(shown[outcome.recording].place, []).append(outcome)
    for place, of_task in by_place.items():
        result = [region for outcome in of_task for region in outcome.result]
        prediction = {"model_version": version, "score": min(o.score for o in of_task), "result": result}
        held = tasks[place].get("predictions") or []
        others = [p for p in held if not (isinstance(p, Mapping) and p.get("model_version") == version)]
        tasks[place]["predictions"] = [*others, prediction]


# Which task shows which recording.


class _Places:
    """Lookup of recordings by the addresses in tasks."""

    def __init__(self, manifest: Manifest, config: str, media_folder: Path | None):
        self._folder = media_folder
        self.controls = read_interval_controls(config)
        if not self.controls:
            raise ConfigError(f"expected {expected_controls()} in the labeling config, found none")
        media = [attributes_of(e) for e in parse_xml(config).iter() if e.tag in MEDIA_TAGS]
        self._objects = {a.get("name", ""): (a.get("value", ""), a.get("sync") or None) for a in media}
        self._recordings = {recording.name: recording for recording in manifest.recordings}
        plain = Counter(_plain(name) for name in self._recordings)
        self._by_plain = {_plain(name): r for name, r in self._recordings.items() if plain[_plain(name)] == 1}

    def left_out(self, annotations: Sequence[Mapping[str, Any]], source: Shown) -> list[str]:
        """Sentences on regions of a recording's task that are no control's."""
        kinds = {track.control.from_name: track.control.kind.region for track in source.tracks}
        have = [control.from_name for control in self.controls]
        told = [reason for one in annotations for reason in left_out(one["result"], kinds, have).reasons(have)]
        return list(dict.fromkeys(told))

    def shown(self, tasks: Sequence[Task]) -> dict[str, Shown]:
        """Recording -> the task that shows it. Raises RequestError if several tasks do."""
        found: dict[str, Shown] = {}
        for place, task in enumerate(tasks):
            data = task.get("data", task)
            tracks = list(self._tracks(data)) if isinstance(data, Mapping) else []
            for name in dict.fromkeys(track.recording.name for track in tracks):
                if name in found:
                    both = [tasks[p].get("id", p + 1) for p in (found[name].place, place)]
                    raise RequestError(f"{name}: expected one task that shows it, found tasks {both[0]} and {both[1]}")
                found[name] = Shown(place, tuple(t for t in tracks if t.recording.name == name))
        return found

    def _tracks(self, data: Mapping[str, Any]) -> Iterable[LabelTrack]:
        direct = {name: self._recording(attribute_value(value, data)) for name, (value, _) in self._objects.items()}
        groups: dict[str, list[Recording]] = {}
        for name, recording in direct.items():
            sync = self._objects[name][1]
            if recording and sync:
                groups.setdefault(sync, []).append(recording)
        for control in self.controls:
            in_sync = groups.get(control.sync or "", [])
            recording = direct.get(control.to_name) or (in_sync[0] if len({r.name for r in in_sync}) == 1 else None)
            if recording:
                yield LabelTrack(control, recording, self._axis(control, recording, data))

    def _recording(self, address: Any) -> Recording | None:
        for name in _names(address):
            recording = self._recordings.get(name) or self._by_plain.get(_plain(name))
            if recording:
                return recording
        return None

    def _axis(self, control: ControlSettings, recording: Recording, data: Mapping[str, Any]) -> Axis:
        if control.series:
            return SampleAxis(self._times(control, data))
        if control.is_on_video:
            return FrameAxis(control.frame_rate(data), recording.duration)
        return SecondsAxis(recording.duration)

    def _times(self, control: ControlSettings, data: Mapping[str, Any]) -> SeriesTimes:
        from framewise.media.series import read_series  # imports pandas, only if needed

        settings, source = control.series, control.media_source(data)
        assert settings
        with tempfile.TemporaryDirectory() as made:
            path = Path(made) / "series.json"
            if settings.inline:
                path.write_text(source, encoding="utf-8")
            else:
                path = self._series_file(source)
            return settings.times(read_series(path, settings).native)

    def _series_file(self, source: str) -> Path:
        names = list(_names(source))
        for name in names:
            if self._folder and (self._folder / name).is_file():
                return self._folder / name
        wanted = names[0] if names else brief(source)
        raise MediaError(f"the series {wanted} is needed for its times; give its folder with --media-folder")


def _names(address: Any) -> Iterable[str]:
    """File names an address may stand for: /data/upload/1/1a2b3c4d-a.mp4, /data/local-files/?d=x/a.mp4, s3://bucket/a.mp4?.."""
    if not isinstance(address, str) or len(address) > 10_000:
        return
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    paths = [*parse_qs(parts.query).get("d", []), unquote(parts.path), address]
    for path in paths:
        name = re.split(r"[/\\]", path)[-1]
        if name and name not in (".", ".."):
            yield name
            yield _UPLOAD_PREFIX.sub("", name, count=1)


def _plain(name: str) -> str:
    """File name as Label Studio writes those of uploads: Django's get_valid_filename."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))
