"""Contents of the pages as plain values for templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from werkzeug.exceptions import NotFound

from framewise.assembly import Assembly
from framewise.core.errors import FramewiseError, ModelError
from framewise.core.intervals import Intervals
from framewise.labeling_config import ControlSettings, read_label_tags, read_labeling_config, sync_groups
from framewise.learning.held_out import HeldOut, HeldOutVideo
from framewise.media.addresses import file_name
from framewise.server.pages import drawing
from framewise.server.pages.drawing import Ribbon
from framewise.server.pages.notices import project_address, task_address, unused_models
from framewise.store.browsing import ProjectLine
from framewise.store.made import LastPrediction

A_PAGE = 10  # timelines per page
PROJECTS_A_PAGE = 20
JOBS_SHOWN = 8

Version = Mapping[str, Any]


@dataclass(frozen=True)
class Pager:
    """Page ``number`` of ``pages``, from 1, of ``total`` items."""

    number: int
    pages: int
    total: int

    @classmethod
    def of(cls, wanted: str | None, total: int, size: int) -> "Pager":
        """The requested page, or the nearest existing one."""
        pages = max(1, -(-total // size))
        number = int(wanted) if wanted and wanted.isascii() and wanted.isdecimal() and len(wanted) < 9 else 1
        return cls(min(max(number, 1), pages), pages, total)

    def first(self, size: int) -> int:
        """Index of the page's first item."""
        return (self.number - 1) * size


@dataclass(frozen=True)
class Strip:
    """Timelines of a task. address: of the task in Label Studio, "" if unknown. note: sentence on the task."""

    task: int
    name: str
    frames: int
    frame_rate: float
    ribbons: list[Ribbon]
    note: str
    address: str
    is_video: bool
    has_pictures: bool
    unit: str = "frame"


@dataclass
class ControlCard:
    """A control of a project, or several that learn together, with the version in use.

    labels: name, colour and held-out frame F1 of each.
    """

    name: str
    tag: str
    labels: list[tuple[str, str, float | None]]
    version: str = ""
    pinned: bool = False
    unused: bool = False
    videos: int | None = None
    f1: float | None = None
    weak: bool = False
    trainable: bool = True


@dataclass
class ProjectCard:
    """A project with its controls. home: its address in Label Studio, "" if unknown. problem: reason why its labeling config
    cannot be read."""

    line: ProjectLine
    home: str
    controls: list[ControlCard] = field(default_factory=list)
    problem: str = ""

    @property
    def title(self) -> str:
        return self.line.title or f"Project {self.line.number}"


class Views:
    """Contents for one web process; everything is read anew with each request."""

    def __init__(self, assembly: Assembly):
        self._assembly = assembly

    # Overview.

    def live(self, project: str | None = None, count: int = JOBS_SHOWN) -> dict[str, Any]:
        """Contents that change without user action: jobs."""
        shown = self._assembly.jobs.states.overview(count, project)
        return {**shown, "waiting": shown["pending"]}

    def stamp(self, project: str | None = None) -> str:
        """Text that changes when another version is in use."""
        return self._assembly.browsing.stamp(project)

    def projects(self, wanted: str | None) -> tuple[list[ProjectCard], Pager]:
        """A page of projects, each with its controls."""
        browsing = self._assembly.browsing
        pager = Pager.of(wanted, len(self._assembly.known.titles()), PROJECTS_A_PAGE)
        lines, _ = browsing.projects(PROJECTS_A_PAGE, pager.first(PROJECTS_A_PAGE))
        return [self.card(line) for line in lines], pager

    def card(self, line: ProjectLine) -> ProjectCard:
        """A project with its controls and their versions in use."""
        project = ProjectView(self._assembly, line)
        card = ProjectCard(line, project.home, problem=project.problem)
        registry = self._assembly.registry
        uses = {use.control: use for use in registry.in_use(line.key)}
        for control in project.shown:
            together = project.together(control)
            names, tags = (", ".join(of) for of in ([c.from_name for c in together], [c.tag for c in together]))
            one = ControlCard(names, tags, [], trainable=control.trainable)
            about: Version = {}
            kept = project.kept_under(control.from_name)
            if use := uses.get(kept):
                try:
                    about = registry.about(registry.folder(line.key, kept) / use.version)
                except FramewiseError as error:
                    card.problem = card.problem or str(error)
                quality = mapping(about.get("quality"))
                one.version, one.pinned, one.videos = use.version, use.pinned, about.get("videos")
                one.unused = kept in project.unused
                one.f1, one.weak = number(mapping(quality.get("mean")).get("f1")), bool(quality.get("weak"))
            scores = mapping(mapping(about.get("quality")).get("labels"))
            one.labels = [(x, c, number(mapping(scores.get(x)).get("f1"))) for x, c in project.coloured(control)]
            card.controls.append(one)
        return card

    def project(self, name: str) -> "ProjectView":
        """A project by its key or its number. Raises NotKnown."""
        return ProjectView(self._assembly, self._assembly.browsing.project(self._assembly.known.find(name)))


class ProjectView:
    """Contents of the pages of one project. problem: reason why its labeling config cannot be read."""

    def __init__(self, assembly: Assembly, line: ProjectLine):
        self._assembly = assembly
        self.line = line
        self.key = line.key
        self.title = line.title or f"Project {line.number}"
        known = assembly.annotations.project(line.key)
        self._config = known.label_config if known else ""
        self.controls: list[ControlSettings] = []
        self.problem = ""
        try:
            self.controls = read_labeling_config(self._config)
        except FramewiseError as error:
            self.problem = str(error)

    # Labels and addresses.

    @cached_property
    def _colours(self) -> dict[tuple[str, str], str]:
        tags = read_label_tags(self._config) or {}
        return {
            (control, name): drawing.colour(attributes.get("background"), number)
            for control, labels in tags.items()
            for number, (name, attributes) in enumerate(labels)
        }

    def colour(self, control: str, label: str) -> str:
        """Colour of a label in the labeling config; a default one for removed labels."""
        return self._colours.get((control, label)) or drawing.colour(None, sum(label.encode()))

    def coloured(self, control: ControlSettings) -> list[tuple[str, str]]:
        """Labels of a control with their colours."""
        return [(name, self.colour(control.from_name, name)) for name in control.label_names]

    @property
    def home(self) -> str:
        """Address of the project in Label Studio, "" if unknown."""
        return project_address(self._assembly.settings, self.line.number)

    def address(self, task: int) -> str:
        """Address of a task in Label Studio, "" if unknown."""
        return task_address(self._assembly.settings, self.line.number, task)

    def control(self, name: str | None) -> ControlSettings:
        """A control by its name; without a name, the first one shown. Raises NotFound."""
        named = self.controls if name else self.shown
        for control in named:
            if name in (None, "", control.from_name):
                return control
        raise NotFound(self.problem or f"project {self.key} has no control {name!r}")

    @cached_property
    def shown(self) -> list[ControlSettings]:
        """One control per model. For controls that learn together, it is the one on a video, if there is one."""
        chosen = [next((c for c in model if c.is_on_video), model[0]) for model in self._models.values()]
        return [c for c in self.controls if c in chosen]

    def together(self, control: ControlSettings) -> list[ControlSettings]:
        """Controls of a control's model: itself, or all that learn together with it, in the order of the config."""
        return self._models[control.from_name]

    @cached_property
    def _models(self) -> dict[str, list[ControlSettings]]:
        """from_name -> ``together``."""
        groups = {control.from_name: group for group in sync_groups(self.controls) for control in group}
        return {control.from_name: groups.get(control.from_name, [control]) for control in self.controls}

    # Versions.

    @cached_property
    def versions(self) -> list[Version]:
        """All versions of all controls, newest first."""
        return list(self._assembly.registry.versions(self.key))

    def kept_under(self, control: str) -> str:
        """Name under which a control's versions are stored: that of the first control of its group."""
        return self._models[control][0].from_name

    def of(self, control: str) -> list[Version]:
        """A control's versions, newest first."""
        return [version for version in self.versions if version["control"] == self.kept_under(control)]

    @cached_property
    def unused(self) -> set[str]:
        """Names under which versions are kept that are not used, see ``unused_models``."""
        return {model.name for model in unused_models(self._assembly, self.key)}

    @property
    def is_pinned(self) -> bool:
        return any(version["pinned"] for version in self.versions)

    # Timelines.

    def held_out(self, control: ControlSettings) -> tuple[HeldOut | None, str]:
        """Held-out scores of the newest version that has some, and its name; or None, and the reason."""
        registry, versions = self._assembly.registry, self.of(control.from_name)
        for version in versions:
            try:
                found = HeldOut(registry.folder(self.key, self.kept_under(control.from_name)) / version["version"])
            except FileNotFoundError:
                continue
            except ModelError as error:
                return None, str(error)
            return found, str(version["version"])
        if not versions:
            return None, "No version yet: submit an annotation in Label Studio."
        return None, "No version has scores of held-out videos yet: they come with the next training."

    def strips(self, control: ControlSettings, held_out: HeldOut, first: int) -> list[Strip]:
        """A page of annotated tasks, worst first."""
        tasks = held_out.tasks[first : first + A_PAGE]
        return [
            self._strip(
                control, video.task, self._data(video.task), len(video.scores), video.frame_rate,
                held_out_ribbons(self, control, held_out.labels, video),
                places_note(task.places),
            )
            for task, video in zip(tasks, held_out.videos(tasks), strict=True)
        ]  # fmt: skip

    def next(self, control: ControlSettings, first: int) -> tuple[list[Strip], int]:
        """A page of tasks without annotations, the least certain first, and their total number."""
        made, total = self._assembly.made.next(self.key, A_PAGE, first)
        return [self._made_strip(control, one) for one in made], total

    def unannotated(self) -> int:
        """Number of tasks without annotations."""
        return self._assembly.made.unannotated(self.key)

    def task(self, control: ControlSettings, task: int) -> Strip:
        """One task with its held-out scores, otherwise with its prediction, if there are any. Raises NotFound."""
        data = self.task_data(task)
        held_out, _ = self.held_out(control)
        mine = [one for one in held_out.tasks if one.task == task] if held_out else []
        if held_out and mine:
            (video,) = held_out.videos(mine)
            ribbons = held_out_ribbons(self, control, held_out.labels, video)
            return self._strip(control, task, data, len(video.scores), video.frame_rate, ribbons, places_note(mine[0].places))
        if made := self._assembly.made.of(self.key, task):
            return self._made_strip(control, made)
        rate, note = self._frame_rate(control, data), "No prediction for this task yet."
        return self._strip(control, task, data, 0, rate, [], note)

    def task_data(self, task: int) -> dict[str, Any]:
        """Data of a known task. Raises NotFound."""
        data = self._assembly.annotations.task_data(self.key, task)
        if data is None:
            raise NotFound(f"project {self.key} has no task {task}")
        return data

    def _data(self, task: int) -> dict[str, Any]:
        return self._assembly.annotations.task_data(self.key, task) or {}

    def _made_strip(self, control: ControlSettings, made: LastPrediction) -> Strip:
        found = made.intervals.get(control.from_name, Intervals(0, self._frame_rate(control, made.data), {}))
        note = f"certainty {made.score:.2f}, predicted by {made.version}"
        ribbons = predicted_ribbons(self, control, found)
        return self._strip(control, made.task, made.data, found.rows, found.frame_rate, ribbons, note)

    def _frame_rate(self, control: ControlSettings, data: Mapping[str, Any]) -> float:
        try:
            return control.frame_rate(data)
        except FramewiseError:
            return 0.0

    def _strip(
        self, control: ControlSettings, task: int, data: Mapping[str, Any], frames: int, rate: float, ribbons: list[Ribbon],
        note: str,
    ) -> Strip:  # fmt: skip
        is_video = control.is_on_video
        name, at_hand = f"a {control.kind.noun}", False
        try:
            source = control.media_source(data)
            name = name if control.series and control.series.inline else file_name(source)
            at_hand = is_video and self._assembly.parts.media.at_hand(source) is not None
        except FramewiseError:
            pass
        unit = "frame" if is_video else "step"
        return Strip(task, name, frames, rate, ribbons, note, self.address(task), is_video, at_hand, unit)


def held_out_ribbons(
    project: ProjectView, control: ControlSettings, labels: Sequence[str], video: HeldOutVideo
) -> list[Ribbon]:
    """Ribbons with truth, score and prediction, one per label that the annotation covers."""
    return [
        Ribbon(
            label,
            project.colour(control.from_name, label),
            drawing.bars(video.truth[:, column]),
            drawing.bars(video.predicted[:, column]),
            drawing.curve(video.scores[:, column]),
            drawing.spans(video.places(column)),
        )
        for column, label in enumerate(labels)
        if video.known[:, column].any()
    ]


def predicted_ribbons(project: ProjectView, control: ControlSettings, found: Intervals) -> list[Ribbon]:
    """Ribbons with predictions, one per label of the control."""
    spans = {label: np.array(found.spans.get(label, ()), dtype=np.int64).reshape(-1, 2) for label in control.label_names}
    return [
        Ribbon(label, project.colour(control.from_name, label), None, drawing.spans(of_label), "", [])
        for label, of_label in spans.items()
    ]


def places_note(places: int) -> str:
    """Sentence on how often annotator and model differ on a video."""
    if not places:
        return "You and the model agree."
    return f"{places} place{'s' * (places != 1)} where you and the model disagree"


def number(value: Any) -> float | None:
    """A finite number from a version's record; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """An object from a version's record; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}
