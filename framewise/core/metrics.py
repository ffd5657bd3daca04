"""How well frames are labelled."""

from typing import Any

import numpy as np
import numpy.typing as npt


def frame_f1(reference: npt.ArrayLike, estimated: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Frame F1 of each label, shape (L,); NaN for a label that occurs in neither, of which nothing can be said.

    reference, estimated: 0/1, shape (T, L). F1 = 2 TP / (2 TP + FP + FN).
    """
    true, found = np.asarray(reference).astype(bool), np.asarray(estimated).astype(bool)
    hits = (true & found).sum(axis=0).astype(np.float64)
    total = (true.sum(axis=0) + found.sum(axis=0)).astype(np.float64)
    scores: npt.NDArray[np.float64] = np.divide(2 * hits, total, out=np.full(len(total), np.nan), where=total > 0)
    return scores


def mean_frame_f1(reference: npt.ArrayLike, estimated: npt.ArrayLike) -> float:
    """Mean of ``frame_f1`` over the labels that occur in the reference; NaN if none does."""
    occurring = np.asarray(reference).astype(bool).any(axis=0)
    scores = frame_f1(reference, estimated)[occurring]
    return float(scores.mean()) if len(scores) else float("nan")


def frame_accuracy(reference: npt.NDArray[Any], estimated: npt.NDArray[Any]) -> float:
    """Share of the (frame, label) cells that agree. reference, estimated: 0/1, same shape."""
    return float((reference == estimated).mean()) if reference.size else float("nan")
