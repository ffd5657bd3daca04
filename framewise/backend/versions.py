"""Trained versions for users: listing them, rolling back, unpinning."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from framewise.backend.projects import Projects
from framewise.controls import Parts
from framewise.core.errors import ModelError, RequestError
from framewise.learning.models import load_model
from framewise.store.annotations import Annotations
from framewise.store.projects import KnownProjects


class Versions:
    """Chooses versions. changed(project) is called when a project's predictions come from another version than before."""

    def __init__(
        self,
        parts: Parts,
        annotations: Annotations,
        known: KnownProjects,
        projects: Projects,
        changed: Callable[[str], None],
    ):
        self._parts = parts
        self._registry = parts.registry
        self._annotations = annotations
        self._known = known
        self._projects = projects
        self._changed = changed

    def overview(self, project: str = "") -> dict[str, Any]:
        """All trained versions, or those of one project, newest first: see ``Registry.overview``. Raises NotKnown."""
        return self._registry.overview(self._known.find(project) if project else None)

    def roll_back(self, project: str, version: str) -> dict[str, Any]:
        """Put an earlier version into use and pin it until a training or an unpin; returns the versions in use.

        Raises NotKnown, and RequestError for an unusable version: it does not load, or was trained on another backbone.
        """
        key = self._known.find(project)
        with self._annotations.together():
            controls = self._registry.roll_back(key, version)
            self._check(key, controls)
        self._changed(key)
        return self.in_use(key)

    def unpin(self, project: str) -> dict[str, Any]:
        """Put the newest versions of a project into use again; returns the versions in use. Raises NotKnown."""
        key = self._known.find(project)
        if self._registry.unpin(key):
            self._changed(key)
        return self.in_use(key)

    def in_use(self, key: str) -> dict[str, Any]:
        """Versions in use in a project."""
        return {"project": key, "controls": [asdict(use) for use in self._registry.in_use(key)]}

    def _check(self, key: str, controls: list[str]) -> None:
        """Raise for a version, already chosen, that cannot be used; the choice is then undone."""
        for learner in self._projects.learners(key):
            folder = self._registry.current(key, learner.name)
            if learner.name not in controls or folder is None:
                continue
            if not self._parts.backbones.is_to_be_fetched(learner.front_end) and learner.is_outdated():
                learned_from = self._registry.about(folder).get("backbone") or {}
                raise RequestError(
                    f"version {folder.name} of {learner.name!r} was trained on the backbone "
                    f"{learned_from.get('name')} ({learned_from.get('crop')}), but the labeling config now has "
                    f"{learner.front_end} ({learner.settings.parameters['model_crop']}); restore that first"
                )
            try:
                load_model(folder)
            except ModelError as error:
                raise RequestError(f"version {folder.name} of {learner.name!r} cannot be used: {error}") from None
