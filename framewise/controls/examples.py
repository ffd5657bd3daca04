"""Training examples from annotated tasks: rows of their media, and the labels of each row with a mask of known cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.controls.control import AnyControl
from framewise.core.converter import regions_to_frame_labels
from framewise.core.errors import NothingMarked, brief
from framewise.core.known import Mask, known_cells, never_overlapping, point_cells, reviewed_rows
from framewise.core.regions import TimelineRegion
from framewise.labeling_config import ControlSettings
from framewise.learning.tracks import LabelledVideo, Rows

Profiles = Mapping[str, Any]  # to_name -> profile of the project's files on that tag, for media with profiles


@dataclass(frozen=True)
class Medium:
    """File of a task: the control that reads it, and its features. content: identity of the file; may be "" in predictions."""

    control: AnyControl
    features: Any
    content: str = ""


@dataclass(frozen=True)
class Example:
    """An annotated task of T rows and L labels.

    frame_labels: 0/1, (T, L), as marked. reviewed (T,), told (L,), apart (L, L) or None: see ``known_cells``.
    points (T, L): cells of marks that say that a label occurs, but not where it begins and ends; None if there are none.
    content: of its file. group: examples of the same group are held out together; None: those of the same file.
    notes: sentences on parts of the annotation that are not learned. task: its Label Studio task, if any.
    media: its files. on_grid: makes the same example on the grid of the project's profiles.
    """

    rows: Rows
    frame_labels: npt.NDArray[np.uint8]
    reviewed: Mask
    told: Mask
    content: str
    notes: list[str]
    apart: Mask | None = None
    points: Mask | None = None
    group: str | None = None
    task: int | None = None
    media: tuple[Medium, ...] = ()
    on_grid: "Callable[[Profiles], Example] | None" = None

    @property
    def known(self) -> Mask:
        """Cells whose label is known to be on or off, (T, L)."""
        return known_cells(self.frame_labels, self.reviewed, self.told, self.apart)

    @property
    def video(self) -> LabelledVideo:
        """The example in the form that learners use."""
        group = f"file {self.content}" if self.group is None else f"group {self.group}"
        return LabelledVideo(self.rows, self.frame_labels, self.known, group, self.points)


def example_of(
    settings: ControlSettings, rows: Rows, regions: Sequence[TimelineRegion], content: str, told: Sequence[str] | None
) -> Example:
    """Example from regions in frames of the rows. told: labels of the labeling config at the time of the annotation; None if
    unknown. Raises NothingMarked, RangeOutsideVideo."""
    names, parameters = settings.label_names, settings.parameters
    strange = sorted({label for region in regions for label in region.labels} - set(settings.region_names))
    notes = [f"regions of {brief(strange)}, which the labeling config does not have, are left out"] if strange else []
    hiding = [r for r in regions if set(r.labels) & set(settings.unreviewed)]
    reviewed = reviewed_rows([r for r in regions if r not in hiding], hiding, len(rows), parameters["model_unmarked"])
    learned = [replace(r, labels=tuple(x for x in r.labels if x in names)) for r in regions]
    frame_labels = regions_to_frame_labels(learned, names, len(rows))
    # An annotation does not cover labels that were added later: it does not mean that they are off everywhere.
    taught = frame_labels.any(axis=0) | np.array([told is None or name in told for name in names])
    points = point_cells(learned, names, len(rows)) & reviewed[:, None] if parameters["model_marks"] == "points" else None
    # Cells that other labels rule out are known once all examples are: see ``completed``.
    apart = np.zeros((len(names), len(names)), dtype=bool) if parameters["model_unmarked"] == "unknown" else None
    if not known_cells(frame_labels, reviewed, np.ones_like(taught), apart).any():
        raise NothingMarked(_why_nothing(parameters["model_unmarked"], bool(hiding)))
    return Example(rows, frame_labels, reviewed, taught, content, notes, apart, points)


def _why_nothing(unmarked: str, hidden: bool) -> str:
    if unmarked == "off":
        return "unreviewed regions cover all of it, so nothing is learned from it"
    outside = " outside of unreviewed regions" if hidden else ""
    return f'nothing is marked in it{outside}, and with model_unmarked="{unmarked}" that says nothing'


def completed(settings: ControlSettings, examples: Sequence[Example]) -> list[Example]:
    """Examples completed with what follows from all examples of the project together."""
    examples = on_one_grid(examples)
    if settings.parameters["model_unmarked"] != "unknown":
        return examples
    apart = never_overlapping([example.frame_labels for example in examples])
    return [replace(example, apart=apart) for example in examples]


def profiles_of(examples: Sequence[Example]) -> Profiles:
    """Profiles of the files of all examples, by to_name."""
    files: dict[str, list[Medium]] = {}
    for medium in (medium for example in examples for medium in example.media):
        files.setdefault(medium.control.to_name, []).append(medium)
    found = {name: media[0].control.profile_of([medium.features for medium in media]) for name, media in files.items()}
    return {name: found[name] for name in sorted(found) if found[name] is not None}


def on_one_grid(examples: Sequence[Example]) -> list[Example]:
    """Examples on a common grid, for media whose grid depends on all files."""
    profiles = profiles_of(examples)
    return [replace(e.on_grid(profiles), task=e.task, group=e.group) if profiles and e.on_grid else e for e in examples]


def notes_on(settings: ControlSettings, examples: Sequence[Example]) -> list[str]:
    """Warnings on how the annotations of all examples are interpreted."""
    notes, where, parameters = [], repr(settings.from_name), settings.parameters
    lacking = sum(example.group is None for example in examples) if parameters["model_group"] else 0
    if lacking:
        notes.append(
            f"{where}: {lacking} of {len(examples)} annotated tasks have no {parameters['model_group'][1:]!r}, which "
            "model_group names; each of them is a group of its own"
        )
    if parameters["model_unmarked"] == "unknown" and (always := _never_off(settings, examples)):
        notes.append(
            f'{where}: with model_unmarked="unknown" nothing says where {brief(always)} are off; mark some stretches '
            "without them with another label"
        )
    return notes


def _never_off(settings: ControlSettings, examples: Sequence[Example]) -> list[str]:
    """Labels that are marked but not known to be off anywhere."""
    on = np.any([example.frame_labels.any(axis=0) for example in examples], axis=0)
    off = np.any([(example.known & (example.frame_labels == 0)).any(axis=0) for example in examples], axis=0)
    return [name for name, found in zip(settings.label_names, on & ~off, strict=True) if found]
