"""Projects as last sent by Label Studio, and the learners of their labeling configs."""

import functools
from collections.abc import Sequence

from framewise.controls import CONTROLS, Learner, Parts, Source, TrainedModel, learners_of
from framewise.core.errors import ConfigError
from framewise.labeling_config import ControlSettings, read_labeling_config, training_keys
from framewise.store.annotations import Annotations
from framewise.store.job_state import JobStates

UNTRAINED = "untrained"


class Projects:
    """Learners of projects."""

    def __init__(self, parts: Parts, annotations: Annotations, states: JobStates):
        self._parts = parts
        self._annotations = annotations
        self._states = states

    def learners(self, project: str, label_config: str | None = None) -> list[Learner]:
        """Learners of a labeling config, checked; of the one last sent, if None. Raises ConfigError, BackboneError."""
        if label_config is None:
            known = self._annotations.project(project)
            if known is None:
                raise ConfigError(f"project {project} is not known; was it ever connected?")
            label_config = known.label_config
        return learners_of(
            CONTROLS[control.tag].create(control, project, self._parts)
            for control in _read(label_config, self._parts.settings.model_score_threshold)
        )

    def notes(self, label_config: str) -> list[str]:
        """Sentences on attributes of a labeling config that do nothing. Raises ConfigError."""
        controls = _read(label_config, self._parts.settings.model_score_threshold)
        return [note for control in controls for note in control.notes]

    def source(self, project: str, from_name: str, address: str) -> Source:
        """A file that one control of a project reads. Raises ConfigError if there is no (longer a) control of this name."""
        for learner in self.learners(project):
            for control in learner.controls:
                if control.settings.from_name == from_name:
                    return Source(learner, control, address)
        raise ConfigError(f"project {project} has no control {from_name!r} any more")

    def has_trainable(self, project: str) -> bool:
        """True if a project has a trainable control. If the labeling config cannot be read, /jobs shows that."""
        try:
            return any(c.trainable for c in read_labeling_config(self._label_config(project)))
        except ConfigError as error:
            self._states.record_failures("train", project, [(None, str(error))])
            return False

    def can_predict(self, project: str) -> bool:
        """True if a project's labeling config can be read."""
        return bool(_readable(self._label_config(project)))

    def training_config_changed(self, project: str, before: str | None) -> bool:
        """True if a project's annotations are to be learned differently than under its labeling config ``before``; False if
        that is None."""
        if before is None or not self._annotations.is_annotated(project):
            return False
        now, learned = (training_keys(_readable(config)) for config in (self._label_config(project), before))
        return not now <= learned

    def _label_config(self, project: str) -> str:
        known = self._annotations.project(project)
        return known.label_config if known else ""

    def release_version(self, project: str) -> None:
        """Unpin a project, so that the version of the next training is put into use."""
        self._parts.registry.release(project)


@functools.lru_cache(maxsize=64)
def _read(label_config: str, score_threshold: float) -> tuple[ControlSettings, ...]:
    """Every request brings its project's labeling config, usually the same one as in the request before."""
    return tuple(read_labeling_config(label_config, score_threshold))


def _readable(label_config: str) -> list[ControlSettings]:
    """Controls of a labeling config; none if it cannot be read, which is reported elsewhere."""
    try:
        return read_labeling_config(label_config)
    except ConfigError:
        return []


def model_version(learners: Sequence[Learner]) -> str:
    """One name for the versions of all learners of a project: Label Studio knows a single version per backend."""
    return "+".join(dict.fromkeys(learner.version() or UNTRAINED for learner in learners))


def trained_models(learners: Sequence[Learner]) -> list[TrainedModel]:
    """Learners that train."""
    return [learner for learner in learners if isinstance(learner, TrainedModel)]
