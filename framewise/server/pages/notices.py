"""Errors and notes of the pages: each one once for everything that it concerns, and only while it is true."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlencode

from framewise.assembly import Assembly
from framewise.backend.file_notes import FileNotes
from framewise.backend.projects import trained_models
from framewise.controls import CONTROLS, TrainedModel, learners_of
from framewise.core.errors import FramewiseError
from framewise.core.frame_grid import parse_frame_rate
from framewise.label_studio import HOW_TO_CONNECT
from framewise.labeling_config import read_frame_rates, read_labeling_config
from framewise.media.notes import SharedNote, shared, topic_of
from framewise.settings import Settings
from framewise.store.browsing import Trouble
from framewise.store.job_state import state_title_of, title_of

Titles = Mapping[str, str]  # by project key
SHOWN = 12
FILES_SHOWN = 50
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Place:
    """A task that a notice concerns. address: in Label Studio, "" if unknown."""

    task: int
    project: str
    name: str
    address: str
    detail: str = ""
    command: str = ""


@dataclass(frozen=True)
class Notice:
    """An error or a note. means, cure: "" if the text contains them. where: description of the place. project: "" if it
    concerns framewise as a whole. topic: identifies its text; "" if it cannot be dismissed. more: number of places not
    listed."""

    text: str
    where: str = ""
    project: str = ""
    means: str = ""
    cure: str = ""
    topic: str = ""
    places: Sequence[Place] = field(default_factory=list)
    more: int = 0


class Notices:
    """Errors and notes of one project, or of all. Notes on a labeling config and its files are cached until something that they
    depend on changes."""

    def __init__(self, assembly: Assembly):
        self._assembly = assembly
        self._kept: dict[str, tuple[object, list[SharedNote]]] = {}

    def errors(self, project: str | None = None) -> list[Notice]:
        """Failures, and changes that invalidate annotations, the latest first."""
        titles = self._assembly.known.titles()
        chosen = _chosen(project, titles)
        changed = [one for key in chosen for one in (*self._outdated_versions(key, titles), *self._moved_regions(key, titles))]
        failures = self._assembly.browsing.errors(project, 10 * SHOWN)[:SHOWN]
        return changed + [self._of_trouble(one, titles) for one in failures]

    def notes(self, project: str | None = None) -> list[Notice]:
        """Notes on settings, jobs and files."""
        found = [] if project else list(_of_settings(self._assembly.settings, self._assembly.label_studio.connected))
        titles = self._assembly.known.titles()
        warnings = self._assembly.browsing.warnings(project, 10 * SHOWN)
        found += [self._of_trouble(one, titles, topic_of(one.text)) for one in warnings]
        found += [self._of_note(key, note, titles) for key in _chosen(project, titles) for note in self._notes(key)]
        return found[: 2 * SHOWN]

    # The labeling config and its files.

    def _notes(self, key: str) -> list[SharedNote]:
        """Notes on attributes without effect and on files; none for an unreadable labeling config."""
        assembly = self._assembly
        known = assembly.annotations.project(key)
        if known is None:
            return []
        annotated = assembly.annotations.annotated_tasks(key)
        stamp = (assembly.facts.stamp(key), known.label_config, annotated, assembly.browsing.stamp(key))
        kept = self._kept.get(key)
        if kept is None or kept[0] != stamp:
            kept = self._kept[key] = (stamp, list(self._made(key, known.label_config, annotated)))
        return kept[1]

    def _made(self, key: str, label_config: str, annotated: int) -> Iterator[SharedNote]:
        with suppress(FramewiseError):  # an unreadable labeling config is reported at its project
            controls = read_labeling_config(label_config)
            yield from map(SharedNote, dict.fromkeys(note for control in controls for note in control.notes))
            learners = learners_of(CONTROLS[one.tag](one, key, self._assembly.parts) for one in controls)
            yield from shared(FileNotes(learners, annotated).on_all(self._assembly.facts.of(key)))

    def _of_note(self, key: str, note: SharedNote, titles: Titles) -> Notice:
        listed = note.files[:FILES_SHOWN]
        places = [self._place(key, file.task, file.name, titles, file.detail, file.command) for file in listed]
        more = len(note.files) - len(places)
        return Notice(note.title, _title(key, titles), key, note.means, note.cure, note.topic, places, more)

    # Jobs.

    def _of_trouble(self, trouble: Trouble, titles: Titles, topic: str = "") -> Notice:
        key, text = trouble.project, _begun(trouble.text)
        job = title_of(trouble.kind)
        listed = trouble.tasks[:FILES_SHOWN]
        return Notice(
            text, f"{_title(key, titles)}, {job}" if key else job, key if key in titles else "", topic=topic,
            places=[self._place(key, task, f"task {task}", titles) for task in listed], more=len(trouble.tasks) - len(listed),
        )  # fmt: skip

    # Features of an earlier framewise, or of another backbone.

    def _outdated_versions(self, key: str, titles: Titles) -> Iterator[Notice]:
        """Versions that are not used because features are made in another way since they were trained."""
        outdated = [f"{one.folder.name} of {one.name!r}" for one in unused_models(self._assembly, key) if one.folder]
        if not outdated:
            return
        jobs = self._assembly.jobs.states.overview(SHOWN, key)["jobs"]
        training = next((job for job in jobs if job["kind"] == "train" and job["state"] in ("running", "pending")), None)
        number = self._assembly.annotations.annotated_tasks(key)
        makes = f"A training makes the features of {number} annotated file{'s' * (number != 1)} anew, and then a version"
        state = f": it is {state_title_of(training['state'])}" if training else ""
        yield Notice(
            f"Version {', '.join(outdated)} is not used: it learned from features that are made in another way now",
            _title(key, titles), key, f"Until there is a new version, nothing is predicted. {makes}{state}",
            "" if training else "Press Train now on the page of the project, or submit an annotation",
        )  # fmt: skip

    # The frame rate.

    def _moved_regions(self, key: str, titles: Titles) -> Iterator[Notice]:
        """Errors on annotations that Label Studio shows at wrong times because frameRate was changed."""
        known = self._assembly.annotations.project(key)
        now = read_frame_rates(known.label_config) if known else {}
        moved: dict[tuple[str | None, str | None], int] = {}
        for then, number in self._assembly.annotations.annotations_by_frame_rates(key):
            changes = {(then[name], now[name]) for name in now.keys() & then.keys() if not _same(then[name], now[name])}
            for change in changes:
                moved[change] = moved.get(change, 0) + number
        for (then_text, now_text), number in moved.items():
            many = f"{number} annotation{'s were' if number != 1 else ' was'} made"
            yield Notice(
                f"{many} while frameRate was {_written(then_text)}; the labeling config now has {_written(now_text)}",
                _title(key, titles), key,
                "Label Studio shows their regions at other times than they were drawn at. framewise learns them at the times "
                "that their annotators saw",
                f"Set frameRate back to {_written(then_text)}, or move their regions in Label Studio and update them",
            )  # fmt: skip

    def _place(self, key: str, task: int, name: str, titles: Titles, detail: str = "", command: str = "") -> Place:
        address = task_address(self._assembly.settings, key.split(".")[0], task)
        return Place(task, key if key in titles else "", name, address, detail, command)


def unused_models(assembly: Assembly, key: str) -> list[TrainedModel]:
    """Models of a project whose version is not used, because it learned from features that are made in another way now."""
    known = assembly.annotations.project(key)
    with suppress(FramewiseError):  # of a labeling config or a backbone; told of at the project, and by jobs
        controls = read_labeling_config(known.label_config) if known else []
        learners = learners_of(CONTROLS[one.tag](one, key, assembly.parts) for one in controls)
        return [model for model in trained_models(learners) if model.is_outdated()]
    return []


def _chosen(project: str | None, titles: Titles) -> Iterable[str]:
    return titles if project is None else [project]


def _title(key: str, titles: Titles) -> str:
    return titles.get(key) or f"project {key.split('.')[0]}"


def project_address(settings: Settings, number: int | str) -> str:
    """Address of a project in Label Studio, "" if unknown."""
    base = settings.label_studio_public_url or settings.label_studio_url
    return f"{base}/projects/{number}/data" if base else ""


def task_address(settings: Settings, number: int | str, task: int) -> str:
    """Address of a task in Label Studio, "" if unknown."""
    address = project_address(settings, number)
    return f"{address}?{urlencode({'task': task})}" if address else ""


def _of_settings(settings: Settings, connected: bool) -> Iterator[Notice]:
    if not connected:
        yield Notice(f"framewise has no connection to Label Studio: {HOW_TO_CONNECT}.", "settings", topic="no-connection")
    if not settings.basic_auth_user and settings.host not in LOOPBACK:
        text = "Anyone who can reach this address can read these pages: set BASIC_AUTH_USER and BASIC_AUTH_PASS."
        yield Notice(text, "settings", topic="no-password")


def _begun(text: str) -> str:
    """A text as a sentence begins, unless it begins with a name of a file or an address."""
    return text[0].upper() + text[1:] if text.split(" ", 1)[0].isalpha() else text


def _same(one: str | None, other: str | None) -> bool:
    """True if two values of frameRate mean the same, or if one cannot be interpreted."""
    if one == other:
        return True
    try:
        return parse_frame_rate(one) == parse_frame_rate(other) and "$" not in f"{one}{other}"
    except ValueError:
        return True  # invalid values are refused where they are used


def _written(frame_rate: str | None) -> str:
    return f'"{frame_rate}"' if frame_rate else "not set (24)"
