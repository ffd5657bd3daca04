"""Figures of an evaluation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from framewise.core.errors import RequestError
from framewise.core.storage import full_disk_explained
from framewise.sync.evaluate.outcomes import METHODS, EstimateOutcome

MIN_ERROR_SECONDS = 1e-5  # smaller errors are drawn here: the axis is logarithmic
COLOURS = {"audio": "tab:blue", "visual": "tab:orange"}
MARKS = {"audio": "o", "visual": "^"}


def draw_all(outcomes: Sequence[EstimateOutcome], folder: Path) -> None:
    """Write each view to a folder as .png. Raises RequestError, StorageFull."""
    views: dict[str, Callable[[Any, Sequence[EstimateOutcome]], None]] = {
        "error_against_offset": _error_against_offset,
        "confidence_against_error": _confidence_against_error,
        "distribution": _distribution,
        "resources": _resources,
        "before_after": _before_after,
    }
    from matplotlib.figure import Figure

    for name, draw in views.items():
        figure = Figure(figsize=(8, 5), layout="constrained")
        draw(figure, outcomes)
        try:
            with full_disk_explained(str(folder)):
                figure.savefig(folder / f"{name}.png", dpi=110)
        except OSError as error:
            raise RequestError(f"cannot write {folder / name}.png: {error.strerror}") from None


def _answered(outcomes: Sequence[EstimateOutcome], method: str) -> tuple[list[EstimateOutcome], list[float]]:
    """(outcomes with an error, absolute errors)."""
    some = [o for o in outcomes if o.method == method and o.error is not None]
    return some, [max(abs(o.error or 0.0), MIN_ERROR_SECONDS) for o in some]


def _axes(figure: Any, title: str, x: str, y: str) -> Any:
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return axes


def _error_against_offset(figure: Any, outcomes: Sequence[EstimateOutcome]) -> None:
    axes = _axes(figure, "Error against true offset", "true offset, s", "absolute error, s")
    for method in METHODS:
        some, errors = _answered(outcomes, method)
        axes.plot([o.true_offset for o in some], errors, MARKS[method], color=COLOURS[method], alpha=0.7, label=method)
        silent = [o.true_offset for o in outcomes if o.method == method and o.error is None]
        if silent:
            axes.plot(
                silent, [2 * MIN_ERROR_SECONDS] * len(silent), "x", color=COLOURS[method], label=f"{method}: not answered"
            )
    axes.set_yscale("log")
    axes.legend()


def _confidence_against_error(figure: Any, outcomes: Sequence[EstimateOutcome]) -> None:
    axes = _axes(figure, "Confidence against error", "absolute error, s", "confidence")
    for method in METHODS:
        some, errors = _answered(outcomes, method)
        axes.plot(errors, [o.confidence for o in some], MARKS[method], color=COLOURS[method], alpha=0.7, label=method)
    for least in (0.2, 0.5, 0.8):
        axes.axhline(least, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.05)
    axes.legend()


def _distribution(figure: Any, outcomes: Sequence[EstimateOutcome]) -> None:
    axes = _axes(figure, "Distribution of errors", "absolute error, s", "pairs")
    bins = np.geomspace(MIN_ERROR_SECONDS, 100, 36)
    for method in METHODS:
        axes.hist(_answered(outcomes, method)[1], bins=bins, color=COLOURS[method], alpha=0.6, label=method)
    axes.set_xscale("log")
    axes.legend()


def _resources(figure: Any, outcomes: Sequence[EstimateOutcome]) -> None:
    views = (("run_time", "run time, s"), ("peak_memory_mb", "peak memory, MB"), ("peak_cpu_percent", "peak processor, %"))
    for place, (name, title) in enumerate(views):
        axes = figure.add_subplot(1, len(views), place + 1)
        axes.boxplot([[getattr(o, name) for o in outcomes if o.method == method] or [0.0] for method in METHODS])
        axes.set_xticks(range(1, len(METHODS) + 1), METHODS)
        axes.set_title(title)
        axes.set_ylim(bottom=0)


def _before_after(figure: Any, outcomes: Sequence[EstimateOutcome]) -> None:
    axes = _axes(figure, "Time difference before and after the offset is applied", "pair", "difference, s")
    first = [o for o in outcomes if o.method == METHODS[0]]
    axes.plot([max(abs(o.true_offset), MIN_ERROR_SECONDS) for o in first], "s", color="grey", label="before")
    for method in METHODS:
        of_method = [o for o in outcomes if o.method == method]
        after = [np.nan if o.error is None else max(abs(o.error), MIN_ERROR_SECONDS) for o in of_method]
        axes.plot(after, MARKS[method], color=COLOURS[method], label=f"after, {method}")
    axes.set_yscale("log")
    axes.legend()
