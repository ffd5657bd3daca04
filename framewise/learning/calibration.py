"""Calibration of a region's raw score to the probability that the region is correct."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ModelError, brief

FloatArray = npt.NDArray[np.float64]

EDGE = 1e-3  # scores are kept this far from 0 and 1, whose log odds are infinite
# Standard deviations of the prior of slope and offset; its mean is no change.
SLOPE_SPREAD, OFFSET_SPREAD = 1.0, 1.5
MAX_STEPS = 100
TOLERANCE = 1e-9


@dataclass(frozen=True)
class RegionCalibration:
    """probability = sigmoid(slope * log odds of the score + offset), slope >= 0: never reverses the order of two regions.

    Platt 1999, "Probabilistic Outputs for Support Vector Machines", but on log odds, so that the identity is a possible map,
    and with a prior around the identity instead of Platt's altered targets, because ten regions may all be correct. In
    simulations, isotonic maps were worse up to 100 regions.
    """

    slope: float = 1.0
    offset: float = 0.0

    @classmethod
    def fit(cls, scores: npt.ArrayLike, right: npt.ArrayLike) -> Self:
        """Most probable map, from regions that did not influence their own scores; without regions, the identity.

        scores: (N,) in [0, 1]. right: (N,) 0/1.
        """
        odds, target = _log_odds(scores), np.asarray(right, dtype=np.float64)
        slope, offset = _most_probable(odds, target)
        if slope < 0:
            # The problem is convex: the best allowed slope is at the boundary, 0, where the odds do not count.
            slope, offset = 0.0, _most_probable(np.zeros_like(odds), target)[1]
        return cls(slope, offset)

    def apply(self, scores: npt.ArrayLike) -> FloatArray:
        """Probabilities in (0, 1) of raw scores in [0, 1], of any shape."""
        return _sigmoid(self.slope * _log_odds(scores) + self.offset)

    def to_json(self) -> dict[str, float]:
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Load what ``to_json`` wrote. Raises ModelError for anything else."""
        try:
            slope, offset = float(written["slope"]), float(written["offset"])
        except (KeyError, TypeError, ValueError):
            slope = offset = math.nan
        if not (math.isfinite(slope) and math.isfinite(offset) and slope >= 0):
            raise ModelError(f"calibration: expected finite numbers slope >= 0 and offset, found {brief(written)}")
        return cls(slope, offset)


def _log_odds(scores: npt.ArrayLike) -> FloatArray:
    inside = np.clip(np.asarray(scores, dtype=np.float64), EDGE, 1 - EDGE)
    odds: FloatArray = np.log(inside / (1 - inside))
    return odds


def _sigmoid(odds: FloatArray) -> FloatArray:
    # Unlike 1 / (1 + exp(-x)), tanh does not overflow for large slopes.
    probabilities: FloatArray = 0.5 * (1 + np.tanh(odds / 2))
    return probabilities


def _most_probable(odds: FloatArray, target: FloatArray) -> tuple[float, float]:
    """Most probable (slope, offset), by Newton's method on a strictly convex function of both."""
    columns = np.column_stack([odds, np.ones_like(odds)])
    mean, precision = np.array([1.0, 0.0]), np.array([SLOPE_SPREAD**-2, OFFSET_SPREAD**-2])

    def surprise(at: FloatArray) -> float:
        found = columns @ at
        return float((np.logaddexp(0, found) - target * found).sum() + (precision * (at - mean) ** 2).sum() / 2)

    at = mean
    for _ in range(MAX_STEPS):
        probability = _sigmoid(columns @ at)
        gradient = columns.T @ (probability - target) + precision * (at - mean)
        curvature = columns.T @ (columns * (probability * (1 - probability))[:, None]) + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        # Newton's method overshoots if all probabilities are near 0 or 1.
        while np.abs(step).max() > TOLERANCE and surprise(at - step) > surprise(at):
            step = step / 2
        at = at - step
        if np.abs(step).max() <= TOLERANCE:
            break
    return float(at[0]), float(at[1])
