"""Synchronization of several recordings of one scene: estimated offsets, applied to media and to labels.

The functions below are the whole programming interface; their arguments and results are documented in the modules that define
them. Those modules are loaded on first use: a web process needs none of the libraries that compare sounds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framewise.sync.apply.applying import apply_offsets
    from framewise.sync.evaluate.evaluating import evaluate_offsets
    from framewise.sync.labels.carrying import carry_labels
    from framewise.sync.offsets.estimate import estimate_offsets
    from framewise.sync.series.aligning import align_series

__all__ = ["align_series", "apply_offsets", "carry_labels", "estimate_offsets", "evaluate_offsets"]

_MODULES = {
    "align_series": "framewise.sync.series.aligning",
    "apply_offsets": "framewise.sync.apply.applying",
    "carry_labels": "framewise.sync.labels.carrying",
    "estimate_offsets": "framewise.sync.offsets.estimate",
    "evaluate_offsets": "framewise.sync.evaluate.evaluating",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
