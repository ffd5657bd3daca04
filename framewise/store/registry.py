"""Trained versions: immutable folders, and a pointer in the database to the one in use.

models/timelinelabels-<project>-<control>/<version>/ holds the network's files and ``version.json``. A version is written
under a temporary name and renamed, so that nobody reads an incomplete one, and renamed again before it is deleted. Removing
the folder resets the model.
"""

import copy
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framewise.core.errors import FramewiseError, ModelError, NotKnown, ProjectForgotten, VersionGone
from framewise.core.storage import acquire, is_locked
from framewise.store.database import Database
from framewise.store.job_state import JobStates
from framewise.store.projects import KnownProjects, is_forgotten

logger = logging.getLogger(__name__)

ABOUT = "version.json"
FILES = "files"  # checksums in it
WRITING, REMOVED, DAMAGED = ".writing-", ".removed-", ".damaged-"
STALE_SECONDS = 3600.0  # a version is written in a second or two
KEPT_VERSIONS = 20
# Name of a version: the number of the project's training, and when it read the annotations.
TRAINED = re.compile(r"v(\d+)-(\d{8}T\d{6}Z)")


Listed = tuple[tuple[int, str, int], dict[str, Any]]  # number, time and time of change of a version; its record


@dataclass(frozen=True)
class Published:
    """A stored version; ``current`` is False if another one stays in use, because it is pinned or of newer annotations."""

    folder: Path
    current: bool


@dataclass(frozen=True)
class InUse:
    """The version that a control predicts with. A pinned one stays in use regardless of trainings."""

    control: str
    version: str
    pinned: bool


class Registry:
    """Versions below ``model_root``; the newest ``keep`` of each control are kept, and the one in use."""

    def __init__(self, model_root: Path, database: Database, keep: int = KEPT_VERSIONS):
        self._root = model_root
        self._database = database
        self._keep = keep
        self._chosen: dict[tuple[str, str], str] = {}  # (project, control) -> version, instead of the one in use

    def folder(self, project: str, control: str) -> Path:
        """Folder of a control's versions. Both names come from Label Studio and are made safe for a path."""
        return self._root / f"timelinelabels-{_plain(project)}-{_plain(control)}"

    def current(self, project: str, control: str) -> Path | None:
        """Folder of the version in use; None if there is none, or if it was removed, which resets the model."""
        before = None
        while True:
            version = self._chosen.get((project, control)) or self._current_name(project, control)
            if not version or version == before:
                return None
            folder = self.folder(project, control) / version
            if (folder / ABOUT).exists():
                return folder
            before = version  # another one took its place meanwhile, or its folder was removed

    def _current_name(self, project: str, control: str) -> str | None:
        rows = self._database.read("SELECT version FROM current_versions WHERE project = ? AND control = ?", (project, control))
        return rows[0]["version"] if rows else None

    def in_use(self, project: str) -> list[InUse]:
        """Versions in use in a project, by the control's name."""
        rows = self._database.read(
            "SELECT control, version, pinned FROM current_versions WHERE project = ? ORDER BY control", (project,)
        )
        found = [InUse(row["control"], row["version"], bool(row["pinned"])) for row in rows]
        return [use for use in found if (self.folder(project, use.control) / use.version / ABOUT).exists()]

    # Publishing.

    def publish(
        self,
        project: str,
        control: str,
        version: str,
        about: dict[str, Any],
        write: Callable[[Path], None],
        check: Callable[[Path], None] | None = None,
    ) -> Published:
        """Store a version, and put it into use unless the one in use is pinned or learned from newer annotations. Old versions
        are then removed.

        write(folder): writes the network's files. check(folder): verifies them before anybody else can read them; if it raises
        (ModelError), the version is discarded, and the one in use stays. Raises ProjectForgotten.
        """
        parent = self.folder(project, control)
        try:
            current = self._store(parent, project, control, version, about, write, check)
        except Exception:
            if not is_forgotten(self._database, project):
                raise
            with suppress(OSError):
                parent.rmdir()
            raise ProjectForgotten(f"project {project} was forgotten; version {version} is discarded") from None
        self._remove_old(project, control, version)
        return Published(parent / version, current)

    def _store(
        self,
        parent: Path,
        project: str,
        control: str,
        version: str,
        about: dict[str, Any],
        write: Callable[[Path], None],
        check: Callable[[Path], None] | None,
    ) -> bool:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(parent)
        temporary = written = Path(tempfile.mkdtemp(dir=parent, prefix=WRITING))
        being_written = acquire(temporary, shared=True)
        try:
            write(temporary)
            told = {"version": version, **about, FILES: _checksums(temporary)}
            (temporary / ABOUT).write_text(json.dumps(told, indent=2))
            if check is not None:
                check(temporary)
            _sync(temporary)
            temporary.chmod(0o755)
            # Renamed inside the transaction, so that forgetting the project finds the whole version or nothing.
            with self._database.transaction():
                if is_forgotten(self._database, project):
                    raise ProjectForgotten(project)
                os.rename(temporary, parent / version)
                written = parent / version
                return self._make_current(project, control, version)
        except BaseException:
            shutil.rmtree(written, ignore_errors=True)
            raise
        finally:
            os.close(being_written)

    def _make_current(self, project: str, control: str, version: str) -> bool:
        for use in self.in_use(project):
            if use.control == control and (use.pinned or _is_newer(use.version, version)):
                return False
        self._use(project, control, version, pinned=False)
        return True

    def _use(self, project: str, control: str, version: str, pinned: bool) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO current_versions (project, control, version, pinned) VALUES (?, ?, ?, ?)",
                (project, control, version, pinned),
            )

    # Choosing.

    def roll_back(self, project: str, version: str) -> list[str]:
        """Put a version into use for every control that has it, and pin it; returns the controls' names.

        version: its name, as Label Studio also shows it, or a prefix such as "v3". Raises NotKnown, which lists the versions.
        """
        with self._database.transaction():
            chosen, controls = self._find(project, version)
            for control in controls:
                self._use(project, control, chosen, pinned=True)
        return controls

    def with_version(self, project: str, version: str) -> "Registry":
        """A view of the registry in which this version counts as in use; the registry itself is unchanged. Raises NotKnown."""
        chosen, controls = self._find(project, version)
        view = copy.copy(self)
        view._chosen = {(project, control): chosen for control in controls}
        return view

    def _find(self, project: str, version: str) -> tuple[str, list[str]]:
        """Full name of a version, and the controls that have it. Raises NotKnown."""
        trained = {control: self._names(project, control) for control in self._controls(project)}
        there = list(dict.fromkeys(name for names in trained.values() for name in names))
        if not there:
            raise NotKnown(f"project {project} has no trained version")
        chosen = _meant(version, there)
        if chosen is None:
            raise NotKnown(f"project {project} has no version {version!r}; it has {', '.join(there)}")
        return chosen, [control for control, names in trained.items() if chosen in names]

    def withdraw(self, project: str) -> None:
        """Put no version into use, because all annotations were deleted. Pinned versions stay in use; all folders are kept."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM current_versions WHERE project = ? AND NOT pinned", (project,))

    def unpin(self, project: str) -> list[str]:
        """Unpin controls and put their newest versions into use; returns these controls."""
        with self._database.transaction():
            pinned = [use for use in self.in_use(project) if use.pinned]
            for use in pinned:
                newest = next(iter(self._names(project, use.control)), use.version)
                self._use(project, use.control, newest, pinned=False)
        return [use.control for use in pinned]

    def release(self, project: str, controls: Iterable[str] | None = None) -> None:
        """Unpin, and leave the version in use until the next training's version replaces it. None: all controls."""
        pinned = [use for use in self.in_use(project) if use.pinned and (controls is None or use.control in controls)]
        if not pinned:
            return
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE current_versions SET pinned = 0 WHERE project = ? AND control = ?",
                [(project, use.control) for use in pinned],
            )

    # Reading.

    @contextmanager
    def reading(self, folder: Path | None) -> Iterator[None]:
        """Context for reading a version's files: raises VersionGone if they cannot be read because the version was removed."""
        try:
            yield
        except (ModelError, OSError) as error:
            if folder is None or (folder / ABOUT).exists():
                raise
            raise VersionGone(f"version {folder.name} was removed while it was read ({error})") from None

    def about(self, folder: Path) -> dict[str, Any]:
        """Contents of a version's ``version.json``. Raises VersionGone, and ModelError for a file that cannot be read."""
        with self.reading(folder):
            return {name: value for name, value in _about(folder).items() if name != FILES}

    def check(self, folder: Path) -> None:
        """Raises ModelError for a version that is damaged, see ``check_version``, and VersionGone."""
        with self.reading(folder):
            check_version(folder)

    def set_aside(self, project: str, control: str, folder: Path, why: str) -> None:
        """Put the newest other version into use in place of a damaged one, which is kept under another name."""
        with self._database.transaction():
            with suppress(FileNotFoundError):  # another process does the same
                folder.rename(folder.with_name(f"{DAMAGED}{folder.name}-{uuid.uuid4().hex[:8]}"))
            names = self._names(project, control)
            if names:
                self._use(project, control, names[0], pinned=False)
        next_one = f"{names[0]} is used in its place" if names else "there is no other one: start a training"
        text = f"version {folder.name} of {control!r} cannot be used any more ({why}); {next_one}"
        logger.error("project %s: %s", project, text)
        JobStates(self._database).record_failures("train", project, [(None, text)])

    def versions(self, project: str | None = None) -> list[dict[str, Any]]:
        """Every version on disk, of one project or of all, with its details: of a project the newest first, of projects the one
        that was trained last."""
        every = "SELECT project, control, version, pinned FROM current_versions"
        rows = self._database.read(f"{every} WHERE project = ?", (project,)) if project else self._database.read(every)
        found = list[Listed]()
        for row in rows:
            for order, about in self._read_all(self.folder(row["project"], row["control"])):
                current = about["version"] == row["version"]
                names = {"project": row["project"], "control": row["control"]}
                found.append((order, {**about, **names, "current": current, "pinned": current and bool(row["pinned"])}))
        latest: dict[str, str] = {}
        for (_, began, _), about in found:
            latest[about["project"]] = max(latest.get(about["project"], ""), began)
        projects = sorted(latest, key=lambda name: (latest[name], name), reverse=True)
        of_project = (_newest_first([item for item in found if item[1]["project"] == name]) for name in projects)
        return [about for listed in of_project for _, about in listed]

    def overview(self, project: str | None = None) -> dict[str, Any]:
        """Answer of /versions: the names of ``versions``, each once, and the details of each."""
        found = self.versions(project)
        return {"versions": list(dict.fromkeys(version["version"] for version in found)), "details": found}

    def _names(self, project: str, control: str) -> list[str]:
        """Names of a control's versions, newest first."""
        return [about["version"] for _, about in _newest_first(list(self._read_all(self.folder(project, control))))]

    def _read_all(self, folder: Path) -> Iterator[Listed]:
        """(sort key, oldest annotations first; details) of the versions in a control's folder. Unreadable versions, and those
        removed in the meantime, are left out."""
        for path in folder.glob(f"[!.]*/{ABOUT}"):
            try:
                about = {**self.about(path.parent), "version": path.parent.name}
                yield (*_began(about), path.stat().st_mtime_ns), about
            except (FramewiseError, OSError) as error:
                logger.warning("skipping a version: %s", error)

    def _controls(self, project: str) -> list[str]:
        rows = self._database.read("SELECT control FROM current_versions WHERE project = ? ORDER BY control", (project,))
        return [row["control"] for row in rows]

    # Removing.

    def _remove_old(self, project: str, control: str, published: str) -> None:
        """Remove versions older than the newest ones, except the one in use. After an error, the next training tries again."""
        removed = []
        try:
            with self._database.transaction():  # so that nobody rolls back to one of them in the meantime
                used = {use.version for use in self.in_use(project) if use.control == control} | {published}
                for name in self._names(project, control)[self._keep :]:
                    if name not in used:
                        removed.append(_hide(self.folder(project, control) / name))
        except (FramewiseError, OSError) as error:
            logger.warning("project %s, %s: cannot remove old versions yet: %s", project, control, error)
        for folder in removed:
            shutil.rmtree(folder, ignore_errors=True)
        if removed:
            logger.info("project %s, %s: removed %d old versions", project, control, len(removed))

    def model_folders(self, project: str) -> list[Path]:
        """Folders of a project's controls, including ones that the database does not know (any more)."""
        found = set(self._root.glob(f"timelinelabels-{_plain(project)}-*"))
        rows = self._database.read("SELECT project, control FROM current_versions WHERE project <> ?", (project,))
        return sorted(found - {self.folder(row["project"], row["control"]) for row in rows})

    def remove_models(self, project: str) -> list[Path]:
        """Remove all versions of a project; returns the removed folders."""
        found = self.model_folders(project)
        for folder in found:
            with suppress(FileNotFoundError):
                shutil.rmtree(_hide(folder), ignore_errors=True)
        _remove_stale(self._root)
        return found


def check_version(folder: Path) -> None:
    """Raises ModelError for a version whose files are not as they were written. Those of earlier releases have no checksums."""
    written = _about(folder).get(FILES) or {}
    changed = [name for name, found in _checksums(folder, written).items() if found != written[name]]
    if changed:
        raise ModelError(f"{folder / changed[0]} is damaged: it is not as it was written")


def forget_project(known: KnownProjects, registry: Registry, project: str) -> None:
    """Delete a project's data and models."""
    registry.remove_models(project)
    known.forget(project)
    registry.remove_models(project)  # versions that a training stored between the two calls


def _about(folder: Path) -> dict[str, Any]:
    """Contents of a version's ``version.json``. Raises OSError, ModelError."""
    try:
        return dict(json.loads((folder / ABOUT).read_text()))
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{folder / ABOUT}: expected a JSON object, found {type(error).__name__}: {error}; roll back to another version, "
            "or remove the folder"
        ) from None


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _began(about: dict[str, Any]) -> tuple[int, str]:
    """Number of a version's training, and the time at which it read its annotations: clocks jump, numbers only grow.

    If the version's name does not contain them, it is number 0 and the time of training.
    """
    named = TRAINED.fullmatch(about["version"])
    return (int(named[1]), named[2]) if named else (0, re.sub("[-:]", "", str(about.get("trained_at", ""))))


def _newest_first(found: Sequence[Listed]) -> list[Listed]:
    """Versions by their numbers, those without one where the times of their trainings put them."""
    ordered = sorted((item for item in found if item[0][0]), key=lambda item: (item[0][0], item[0][2]), reverse=True)
    for item in sorted((item for item in found if not item[0][0]), key=lambda item: item[0]):
        place = next((n for n, other in enumerate(ordered) if other[0][1] <= item[0][1]), len(ordered))
        ordered.insert(place, item)
    return ordered


def _is_newer(version: str, other: str) -> bool:
    """True if a version is known to have learned from newer annotations than another one of its project."""
    one, two = TRAINED.fullmatch(version), TRAINED.fullmatch(other)
    return bool(one and two and int(one[1]) > int(two[1]))


def _meant(version: str, there: list[str]) -> str | None:
    """The version that a name refers to: its own name, its number, or Label Studio's name, which may have a suffix."""
    for fits in (
        lambda name: name == version,
        lambda name: name.split("-")[0] == version,
        lambda name: version.startswith(f"{name}-"),
    ):
        found = [name for name in there if fits(name)]
        if len(found) == 1:
            return found[0]
    return None


def _checksums(folder: Path, names: Iterable[str] | None = None) -> dict[str, str]:
    """SHA-256 of the files in a version's folder, by name. names: of these, "" for one that is gone."""
    wanted = [path.name for path in folder.iterdir() if path.name != ABOUT] if names is None else names
    return {name: _checksum(folder / name) for name in sorted(wanted)}


def _checksum(path: Path) -> str:
    with suppress(FileNotFoundError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""


def _hide(folder: Path) -> Path:
    """Rename a folder so that nobody starts to read it any more."""
    return folder.rename(folder.with_name(f"{REMOVED}{folder.name}-{uuid.uuid4().hex[:8]}"))


def _remove_stale(parent: Path) -> None:
    """Remove leftovers of trainings that were killed while they wrote or removed."""
    for folder in (*parent.glob(f"{WRITING}*"), *parent.glob(f"{REMOVED}*")):
        with suppress(FileNotFoundError):  # another training removes it too
            old = time.time() - folder.stat().st_mtime > STALE_SECONDS
            # The clock may have been set forward while a version is written, whose writer then holds the lock.
            if folder.name.startswith(REMOVED) or (old and not is_locked(folder)):
                shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
