"""Predictions of a version for each annotated video by learners that did not learn from it, kept beside its other files.

One file a version, ``held_out.safetensors``: of each task its scores (T, L) in 8 bits, its truth as bits, and, where something
is known of a label in some rows alone, in which ones. The header holds what of all tasks is needed to choose some of them. So a
page reads the header and the tensors of the few that it shows.
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
ON = 128  # a stored score from which on a label is on: the least that is 0.5 or more
# A shorter stretch is not a disagreement to look at: two people draw an edge a quarter of a second apart.
PLACE_SECONDS = 0.25


@dataclass(frozen=True)
class HeldOutTask:
    """One line about a task. disagreement: share of its frames and labels in which truth and prediction differ. places: how
    many stretches of at least PLACE_SECONDS these are, both where it is known. taught: labels of which anything is known."""

    task: int
    frames: int
    frame_rate: float
    disagreement: float
    places: int
    taught: list[str]


@dataclass(frozen=True)
class HeldOutVideo:
    """scores (T, L) uint8, a label is on from ON; truth 0/1 (T, L), which counts where known (T, L) is true."""

    task: int
    frame_rate: float
    scores: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8]
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls, task: int, frame_rate: float, scores: npt.NDArray[Any], truth: npt.NDArray[Any], known: npt.NDArray[Any]
    ) -> Self:
        """From scores in [0, 1], of which those from 0.5 on stay on."""
        return cls(task, frame_rate, in_bytes(scores), truth.astype(np.uint8), known.astype(bool))

    @property
    def predicted(self) -> npt.NDArray[np.bool_]:
        on: npt.NDArray[np.bool_] = self.scores >= ON
        return on

    def places(self, label: int) -> npt.NDArray[np.int64]:
        """(index, stop) of each stretch of a label in which truth and prediction differ for PLACE_SECONDS or more, (N, 2)."""
        found = runs((self.truth[:, label].astype(bool) != self.predicted[:, label]) & self.known[:, label])
        return found[found[:, 1] - found[:, 0] >= PLACE_SECONDS * self.frame_rate]

    def summary(self, labels: Sequence[str]) -> HeldOutTask:
        """The line about it."""
        differs = (self.truth.astype(bool) != self.predicted)[self.known]
        share = float(differs.mean()) if differs.size else 0.0
        places = sum(len(self.places(label)) for label in range(len(labels)))
        taught = [label for label, told in zip(labels, np.asarray(self.known.any(axis=0)), strict=True) if told]
        return HeldOutTask(self.task, len(self.scores), self.frame_rate, round(share, 6), places, taught)


def in_bytes(scores: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scores in [0, 1] in 8 bits: on from ON just where they were on from 0.5."""
    rounded = np.rint(np.clip(np.nan_to_num(scores), 0, 1) * SCALE).astype(np.uint8)
    return np.where(scores >= 0.5, np.maximum(rounded, ON), np.minimum(rounded, ON - 1)).astype(np.uint8)


def write_held_out(folder: Path, videos: Sequence[HeldOutVideo], labels: Sequence[str]) -> None:
    """Write the file of a version. Raises OSError."""
    tensors = {}
    for video in videos:
        tensors[f"scores.{video.task}"] = np.ascontiguousarray(video.scores)
        tensors[f"truth.{video.task}"] = np.packbits(video.truth, axis=0)
        if not (video.known == video.known.any(axis=0)).all():
            tensors[f"known.{video.task}"] = np.packbits(video.known, axis=0)
    about = {"labels": list(labels), "tasks": [asdict(video.summary(labels)) for video in videos]}
    (folder / FILE).write_bytes(save(tensors, {"about": json.dumps(about)}))


class HeldOut:
    """The file of a version: ``labels`` in the order of columns, ``tasks`` worst first."""

    def __init__(self, folder: Path):
        """Raises FileNotFoundError for a version without one, ModelError for a file that cannot be read."""
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
            "next training writes another"
        )
