"""Videos to extract: of a folder, of a file of tasks, of a known project."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framewise.assembly import Assembly
from framewise.backend.identifiers import NO_PROJECT, is_id
from framewise.controls import AnyControl
from framewise.core.errors import RequestError, brief
from framewise.core.task_files import read_task_file
from framewise.exports import labeling_config_of
from framewise.features.backbone import Backbones
from framewise.labeling_config import PARAMETERS
from framewise.media.addresses import file_name
from framewise.settings import Settings

SUFFIXES = (".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
            ".qt", ".ts", ".webm", ".wmv")  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Features of one kind. content: of the network's file, because another file of that name gives other features. is_pose:
    True for the poses of a pose network, which crops nothing. every: the backbone's own of every picture."""

    backbone: str
    content: str
    crop: str
    is_pose: bool = False
    every: bool = False


@dataclass(frozen=True)
class Video:
    """A video to be extracted. name: used in reports. task: with which Label Studio resolves storage addresses."""

    name: str
    source: str
    task: int | None
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True)
class FoundVideos:
    """Videos to extract. unusable: (name, reason) of tasks without a video. notes: other remarks for the user.

    settings: those under which the videos may be read.
    """

    settings: Settings
    videos: list[Video]
    unusable: list[tuple[str, str]]
    notes: list[str]


def find(settings: Settings, source: Path | None, config: Path | None, project: str | None) -> FoundVideos:
    """Videos of a folder or of a file of tasks; of the project itself, if that is None. Raises FramewiseError.

    Features are those that the labeling config asks for: ``config``, else the project's; otherwise the default ones.
    """
    if source is None and project is None:
        raise RequestError("which videos? Give a folder, a file of tasks, or a known project with --project")
    if source is not None and source.is_dir():
        controls = _controls(settings, config, project)[0] if config or project else []
        return _of_folder(settings, source, _wanted_of(settings, controls) or (_default(settings),))
    tasks = None if source is None else read_task_file(source)
    controls, known = _controls(settings, config, project)
    return _of_tasks(settings, known if tasks is None else tasks, controls)


def _controls(settings: Settings, config: Path | None, project: str | None) -> tuple[list[AnyControl], list[Any]]:
    """Controls on videos in the labeling config, and the tasks of the project."""
    assembly = Assembly(settings)
    key = assembly.known.find(project) if project else NO_PROJECT
    learners = assembly.backend.learners(key, labeling_config_of(assembly, key, config))
    controls = [control for learner in learners for control in learner.controls]
    # Series and sound are fast to read.
    return [control for control in controls if control.settings.is_on_video], assembly.annotations.tasks(key)


def _default(settings: Settings) -> Wanted:
    crop = next(p.default for p in PARAMETERS if p.name == "model_crop")
    return _wanted(settings, settings.model_path, str(crop))


def _wanted_of(settings: Settings, controls: Sequence[AnyControl]) -> tuple[Wanted, ...]:
    return tuple(dict.fromkeys(wanted for control in controls for wanted in _wanted_by(settings, control)))


def _wanted_by(settings: Settings, control: AnyControl) -> list[Wanted]:
    wanted = _wanted(settings, control.front_end, str(control.settings.parameters["model_crop"]))
    found = [replace(wanted, every=control.needs_every_picture)]
    if name := control.pose_network:
        file = control.parts.pose_networks.fetch_official(name)
        found.append(Wanted(name, file.content, "", is_pose=True))
    return found


def _wanted(settings: Settings, backbone: str, crop: str) -> Wanted:
    """Raise BackboneError for a missing backbone. Downloads an official backbone once, before many processes would."""
    file = Backbones(settings.model_root, settings.data_dir).fetch_official(backbone)
    return Wanted(backbone, file.content, crop)


def _of_folder(settings: Settings, folder: Path, wanted: tuple[Wanted, ...]) -> FoundVideos:
    """All videos below a folder. Naming the folder is the permission to read it, but not what its links lead to outside."""
    root = Path(os.path.realpath(folder))
    paths, outside = [], 0
    for path in _walk(folder):
        if Path(os.path.realpath(path)).is_relative_to(root):
            paths.append(path)
        else:
            outside += 1
    if not paths:
        raise RequestError(f"{folder}: no video below it; expected names that end in {' '.join(SUFFIXES)}")
    videos = [Video(str(path.relative_to(folder)), os.path.realpath(path), None, wanted) for path in paths]
    notes = [f"{outside} links that lead out of {folder} are left out"] if outside else []
    return FoundVideos(replace(settings, local_files_roots=(root,)), _each_once(videos), [], notes)


def _walk(folder: Path) -> Iterator[Path]:
    """Files with a video's suffix, sorted by name. Hidden ones are skipped: macOS and editors keep them beside videos."""
    for at, folders, files in os.walk(folder):  # links to folders are not followed
        folders.sort()
        for name in sorted(files):
            path = Path(at, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and path.is_file():
                yield path


def _of_tasks(settings: Settings, tasks: Sequence[Any], controls: Sequence[AnyControl]) -> FoundVideos:
    videos, unusable = [], []
    kinds = [(control, _wanted_by(settings, control)) for control in controls]
    for place, task in enumerate(tasks, 1):
        number = task["id"] if isinstance(task, Mapping) and is_id(task.get("id")) else None
        name = f"item {place}" if number is None else f"task {number}"
        try:
            sources: dict[str, list[Wanted]] = {}
            for control, wanted in kinds:
                sources.setdefault(control.settings.media_source(_data_of(task)), []).extend(wanted)
        except RequestError as error:
            unusable.append((name, str(error)))
            continue
        for source, asked in sources.items():
            videos.append(Video(f"{name}, {file_name(source)}", source, number, tuple(dict.fromkeys(asked))))
    if not videos and not unusable:
        raise RequestError("the project has no tasks; is it connected to Label Studio?")
    return FoundVideos(settings, _each_once(videos), unusable, [])


def _data_of(task: Any) -> Mapping[str, Any]:
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(data, Mapping):
        raise RequestError(f"expected an object 'data', found {brief(task)}")
    return data


def _each_once(videos: Sequence[Video]) -> list[Video]:
    """Videos without duplicates of an address."""
    first: dict[tuple[str, tuple[Wanted, ...]], Video] = {}
    for video in videos:
        first.setdefault((video.source, video.wanted), video)
    return list(first.values())
