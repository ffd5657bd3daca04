"""Out-of-fold predictions of a version for its annotated videos, by learners that did not learn from them.

One file per version, ``held_out.safetensors``: for each task its scores (T, L) in 8 bits, its truth as bits, and, if a label is
known in some rows only, the mask of known cells. The header holds a summary of all tasks, so that a page reads only the header
and the tensors of the few tasks that it shows.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from framewise.core.errors import ModelError
from framewise.core.metrics import runs

FILE = "held_out.safetensors"
SCALE = 255
ON = 128  # stored score from which a label is on: the smallest one that is at least 0.5
# Shorter disagreements are ignored: two people draw an edge a quarter of a second apart.
PLACE_SECONDS = 0.25


@dataclass(frozen=True)
class HeldOutTask:
    """Summary of a task. disagreement: share of its known cells in which truth and prediction differ. places: number of such
    stretches of at least PLACE_SECONDS. taught: labels that are known anywhere."""

    task: int
    frames: int
    frame_rate: float
    disagreement: float
    places: int
    taught: list[str]


@dataclass(frozen=True)
class HeldOutVideo:
    """Held-out predictions of a task. scores (T, L): uint8, a label is on from ON. truth: 0/1 (T, L), valid where known (T, L)
    is true."""

    task: int
    frame_rate: float
    scores: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8]
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls, task: int, frame_rate: float, scores: npt.NDArray[Any], truth: npt.NDArray[Any], known: npt.NDArray[Any]
    ) -> Self:
        """Convert scores in [0, 1]; a label stays on from 0.5."""
        return cls(task, frame_rate, in_bytes(scores), truth.astype(np.uint8), known.astype(bool))

    @property
    def predicted(self) -> npt.NDArray[np.bool_]:
        on: npt.NDArray[np.bool_] = self.scores >= ON
        return on

    def places(self, label: int) -> npt.NDArray[np.int64]:
        """(index, stop) of each stretch in which truth and prediction of a label differ for PLACE_SECONDS or more, (N, 2)."""
        found = runs((self.truth[:, label].astype(bool) != self.predicted[:, label]) & self.known[:, label])
        return found[found[:, 1] - found[:, 0] >= PLACE_SECONDS * self.frame_rate]

    def summary(self, labels: Sequence[str]) -> HeldOutTask:
        """Summarise the task."""
        differs = (self.truth.astype(bool) != self.predicted)[self.known]
        share = float(differs.mean()) if differs.size else 0.0
        places = sum(len(self.places(label)) for label in range(len(labels)))
        taught = [label for label, told in zip(labels, np.asarray(self.known.any(axis=0)), strict=True) if told]
        return HeldOutTask(self.task, len(self.scores), self.frame_rate, round(share, 6), places, taught)


def in_bytes(scores: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scores in [0, 1] as 8 bits, at least ON exactly where they were at least 0.5."""
    rounded = np.rint(np.clip(np.nan_to_num(scores), 0, 1) * SCALE).astype(np.uint8)
    return np.where(scores >= 0.5, np.maximum(rounded, ON), np.minimum(rounded, ON - 1)).astype(np.uint8)


def write_held_out(folder: Path, videos: Sequence[HeldOutVideo], labels: Sequence[str]) -> None:
    """Write a version's file. Raises OSError."""
    tensors = {}
    for video in videos:
        tensors[f"scores.{video.task}"] = np.ascontiguousarray(video.scores)
        tensors[f"truth.{video.task}"] = np.packbits(video.truth, axis=0)
        if not (video.known == video.known.any(axis=0)).all():
            tensors[f"known.{video.task}"] = np.packbits(video.known, axis=0)
    about = {"labels": list(labels), "tasks": [asdict(video.summary(labels)) for video in videos]}
    (folder / FILE).write_bytes(save(tensors, {"about": json.dumps(about)}))


class HeldOut:
    """File of a version: ``labels`` in the order of columns, ``tasks`` worst first."""

    def __init__(self, folder: Path):
        """Read the header. Raises FileNotFoundError for a version without the file, ModelError if it cannot be read."""
        self._path = folder / FILE
        if not self._path.exists():
            raise FileNotFoundError(self._path)
        try:
            with safe_open(self._path, framework="numpy") as file:
                about = json.loads((file.metadata() or {})["about"])
            self.labels: list[str] = [str(label) for label in about["labels"]]
            tasks = [HeldOutTask(**task) for task in about["tasks"]]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from None
        self.tasks = sorted(tasks, key=lambda t: (-t.disagreement, -t.places, t.task))

    def videos(self, tasks: Sequence[HeldOutTask]) -> list[HeldOutVideo]:
        """Scores and truth of some tasks. Raises ModelError."""
        found = []
        try:
            with safe_open(self._path, framework="numpy") as file:
                names = set(file.keys())
                for task in tasks:
                    scores, bits = file.get_tensor(f"scores.{task.task}"), file.get_tensor(f"truth.{task.task}")
                    truth = np.unpackbits(bits, axis=0, count=len(scores))
                    known = np.tile(np.array([label in task.taught for label in self.labels]), (len(scores), 1))
                    if f"known.{task.task}" in names:
                        told = file.get_tensor(f"known.{task.task}")
                        known = np.unpackbits(told, axis=0, count=len(scores)).astype(bool)
                    found.append(HeldOutVideo(task.task, task.frame_rate, scores, truth, known))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from None
        return found

    def _damaged(self, error: Exception) -> ModelError:
        return ModelError(
            f"{self._path}: expected scores of held-out videos, found {type(error).__name__}: {error}; remove the file: the "
            "next training writes a new one"
        )
