"""Trained versions: immutable folders, and a pointer in the database to the one in use.

models/timelinelabels-<project>-<control>/<version>/ holds the network's files and ``version.json``. A version is written
under a temporary name and renamed, so that nobody ever reads half of one. Removing the folder resets the model.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framewise.store.database import Database

ABOUT = "version.json"
WRITING = ".writing-"
STALE_SECONDS = 3600.0  # a version is written in a second or two


class Registry:
    """Versions below ``model_root``."""

    def __init__(self, model_root: Path, database: Database):
        self._root = model_root
        self._database = database

    def folder(self, project: str, control: str) -> Path:
        """Where the versions of a control are. Both names come from Label Studio and are made safe for a path."""
        return self._root / f"timelinelabels-{_plain(project)}-{_plain(control)}"

    def current(self, project: str, control: str) -> Path | None:
        """Folder of the version in use; None if there is none, or if it was removed: that resets the model."""
        rows = self._database.read("SELECT version FROM current_versions WHERE project = ? AND control = ?", (project, control))
        if not rows:
            return None
        folder = self.folder(project, control) / rows[0]["version"]
        return folder if (folder / ABOUT).exists() else None

    def publish(self, project: str, control: str, version: str, about: dict[str, Any], write: Callable[[Path], None]) -> Path:
        """Store a version and make it the one in use. ``write(folder)`` writes the network's files."""
        parent = self.folder(project, control)
        parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(parent)
        temporary = Path(tempfile.mkdtemp(dir=parent, prefix=WRITING))
        try:
            write(temporary)
            (temporary / ABOUT).write_text(json.dumps({"version": version, **about}, indent=2))
            _sync(temporary)
            temporary.chmod(0o755)
            os.rename(temporary, parent / version)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO current_versions VALUES (?, ?, ?)", (project, control, version))
        return parent / version

    def about(self, folder: Path) -> dict[str, Any]:
        """What ``version.json`` of a version says."""
        return dict(json.loads((folder / ABOUT).read_text()))

    def versions(self) -> list[dict[str, Any]]:
        """Every version of every project on disk, newest first, with what is known of it."""
        found = []
        for row in self._database.read("SELECT DISTINCT project, control, version AS current FROM current_versions"):
            for about in self.folder(row["project"], row["control"]).glob(f"[!.]*/{ABOUT}"):  # not .writing-*
                entry = {"project": row["project"], "control": row["control"], **self.about(about.parent)}
                found.append({**entry, "current": entry["version"] == row["current"]})
        return sorted(found, key=lambda v: str(v.get("trained_at", "")), reverse=True)


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _remove_stale(parent: Path) -> None:
    """Remove what trainings left behind that were killed while they wrote."""
    for folder in parent.glob(f"{WRITING}*"):
        if time.time() - folder.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
