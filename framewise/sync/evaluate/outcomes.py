"""Outcome of one method on one case, and metrics over many outcomes."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

METHODS = ("audio", "visual")
AGREED_SECONDS = 0.1


@dataclass(frozen=True)
class EstimateOutcome:
    """Outcome of one method on one case. offset, error: seconds, None without an answer; ``reason`` says why. peak_cpu_percent:
    100 is one processor."""

    original: str
    true_offset: float
    treatment: str
    method: str
    offset: float | None
    error: float | None
    confidence: float
    reason: str
    run_time: float
    peak_memory_mb: float
    peak_cpu_percent: float


def metrics_of(outcomes: Sequence[EstimateOutcome]) -> dict[str, Any]:
    """Metrics over all outcomes, as JSON."""
    by_method = {method: [o for o in outcomes if o.method == method] for method in METHODS}
    return {
        "pairs": len(by_method[METHODS[0]]),
        "methods": {method: _of_method(some) for method, some in by_method.items()},
        "audio_video_diff": _differences(by_method),
        "confidence_against_error": [
            {"method": o.method, "confidence": o.confidence, "error": abs(o.error)} for o in outcomes if o.error is not None
        ],
    }


def _of_method(outcomes: Sequence[EstimateOutcome]) -> dict[str, Any]:
    return {
        **_errors(outcomes),
        "per_offset": {f"{key:+g}": _errors(some) for key, some in _grouped(outcomes, lambda o: o.true_offset)},
        "per_treatment": {key: _errors(some) for key, some in _grouped(outcomes, lambda o: o.treatment)},
        "run_time": {"mean": _mean([o.run_time for o in outcomes]), "max": max((o.run_time for o in outcomes), default=0.0)},
        "peak_memory_mb": max((o.peak_memory_mb for o in outcomes), default=0.0),
        "peak_cpu_percent": max((o.peak_cpu_percent for o in outcomes), default=0.0),
    }


def _grouped(
    outcomes: Sequence[EstimateOutcome], key: Callable[[EstimateOutcome], Any]
) -> list[tuple[Any, list[EstimateOutcome]]]:
    groups: dict[Any, list[EstimateOutcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[key(outcome)].append(outcome)
    return sorted(groups.items())


def _errors(outcomes: Sequence[EstimateOutcome]) -> dict[str, Any]:
    """Statistics of absolute errors in seconds; None if nothing was answered."""
    errors = np.array([abs(o.error) for o in outcomes if o.error is not None])
    told: dict[str, Any] = {"asked": len(outcomes), "answered": len(errors)}
    if not len(errors):
        return told | dict.fromkeys(("mae", "rmse", "median", "max"))
    squares = float(np.sqrt((errors**2).mean()))
    return told | {
        "mae": float(errors.mean()),
        "rmse": squares,
        "median": float(np.median(errors)),
        "max": float(errors.max()),
    }


def _differences(by_method: Mapping[str, Sequence[EstimateOutcome]]) -> dict[str, Any]:
    """Differences between the answers by sound and by picture, where there are both."""
    both = zip(*(by_method[method] for method in METHODS), strict=True)
    found = [abs(a.offset - b.offset) for a, b in both if a.offset is not None and b.offset is not None]
    return {
        "pairs": len(found),
        "mean": _mean(found),
        "max": max(found, default=None),
        "share_under_0.1_s": _mean([float(difference < AGREED_SECONDS) for difference in found]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
