"""Trained models of every kind, loaded by the class named in their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ModelError
from framewise.learning import checkpoints
from framewise.learning.auto import AutoClassifier
from framewise.learning.joint import JointRows
from framewise.learning.networks import MultiLabelLSTM
from framewise.learning.tracks import Part, Rows, appearance_of, spans

Model = AutoClassifier | MultiLabelLSTM
MODELS: dict[str, checkpoints.Loadable[Model]] = {"AutoClassifier": AutoClassifier, "MultiLabelLSTM": MultiLabelLSTM}
CHECKED_ROWS = 200


def load_model(folder: Path) -> Model:
    """Load the model in a folder. Raises ModelError if it holds none."""
    return checkpoints.load(folder, MODELS)


def load_cached_model(folder: Path, check: Callable[[Path], None]) -> Model | None:
    """``load_model``, kept in memory until the folder's content changes; None if there is no such folder. check: looks at the
    files before they are read, and raises ModelError."""

    def load(path: Path) -> Model:
        check(path)
        return load_model(path)

    return checkpoints.load_cached(folder, load)


def scores_of(model: Model, rows: Rows) -> npt.NDArray[Any]:
    """Scores (T, L) in [0, 1] of rows by a model, with columns as in its label map."""
    if isinstance(model, AutoClassifier):
        return model.predict(rows)
    scores: npt.NDArray[Any] = model.predict(appearance_of(rows)).numpy()
    return scores


def check_model(folder: Path, rows: Rows) -> None:
    """Raise ModelError if the model in a folder cannot be loaded or gives scores that are not finite."""
    start, stop = spans(rows)[0]
    stop = min(stop, start + CHECKED_ROWS)
    model, few = load_model(folder), rows.first(stop) if isinstance(rows, JointRows) else Part(rows, start, stop)
    scores = scores_of(model, few)
    if not np.isfinite(scores).all():
        raise ModelError("the new version gives scores that are not finite numbers; the previous version stays in use")
