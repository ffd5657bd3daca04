"""Predicted timelines compared with the truth, as bars of text and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.metrics import frame_f1

BAR_COLUMNS = 72
COLOURS = ("tab:red", "tab:blue")


@dataclass(frozen=True)
class PredictedClip:
    """A clip that was not annotated. truth, predicted: 0/1, (T, L)."""

    name: str
    truth: npt.NDArray[np.uint8]
    predicted: npt.NDArray[np.uint8]


def print_timelines(outcomes: Sequence[PredictedClip], labels: Sequence[str]) -> None:
    """Print for each clip and label the true and predicted frames and the frame F1; then the totals."""
    width = max(len(label) for label in labels)
    print("\nClips that were not annotated (█ on, · off; each column is a stretch of frames):")
    for outcome in outcomes:
        print(f"\n{outcome.name}, {len(outcome.truth)} frames")
        for column, (label, score) in enumerate(zip(labels, frame_f1(outcome.truth, outcome.predicted), strict=True)):
            print(f"  {label:<{width}}  true       {bar(outcome.truth[:, column])}")
            print(f"  {'':<{width}}  predicted  {bar(outcome.predicted[:, column])}  {_score(score)}")
    truth = np.concatenate([o.truth for o in outcomes])
    scores = frame_f1(truth, np.concatenate([o.predicted for o in outcomes]))
    print(f"\nOn all of these clips: {_scores(labels, scores)}")
    print(f"Mean frame F1: {np.nanmean(scores):.3f}")


def bar(on: npt.NDArray[np.uint8], columns: int = BAR_COLUMNS) -> str:
    """Row of characters, filled if at least half of their frames are on. on: 0/1, (T,)."""
    parts = np.array_split(on, min(columns, len(on)))
    return "".join("█" if part.mean() >= 0.5 else "·" for part in parts)


def draw_timelines(outcomes: Sequence[PredictedClip], labels: Sequence[str], path: Path) -> Path:
    """Draw the timelines to a PNG: the truth solid, the prediction lighter below it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.0 + 0.9 * len(outcomes)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(outcomes), 1, sharex=True, squeeze=False)[:, 0]
    for axis, outcome in zip(axes, outcomes, strict=True):
        _draw_clip(axis, outcome, labels)
    axes[-1].set_xlabel("frame (solid: true; light: predicted)")
    figure.suptitle("Timelines of clips that were not annotated")
    figure.savefig(path, dpi=110)
    return path


def _draw_clip(axis: Any, outcome: PredictedClip, labels: Sequence[str]) -> None:
    for column, colour in enumerate(COLOURS[: len(labels)]):
        base = len(labels) - 1 - column
        for array, offset, alpha in ((outcome.truth, 0.45, 1.0), (outcome.predicted, 0.1, 0.45)):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], array[:, column], [0]]).astype(int)))
            spans = [(start + 1, stop - start) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
            axis.broken_barh(spans, (base + offset, 0.3), facecolors=colour, alpha=alpha)
    axis.set_ylim(0, len(labels))
    axis.axvspan(len(outcome.truth) + 1, len(outcome.truth) + 2, color="lightgrey")  # the clip's end
    axis.set_yticks([len(labels) - 1 - i + 0.42 for i in range(len(labels))], labels)
    scores = frame_f1(outcome.truth, outcome.predicted)
    axis.set_title(f"{outcome.name}: {_scores(labels, scores)}", loc="left", fontsize=9)


def _scores(labels: Sequence[str], scores: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{label} {_score(score)}" for label, score in zip(labels, scores, strict=True))


def _score(score: float) -> str:
    """Frame F1 in words; NaN if a label is neither true nor predicted anywhere."""
    return "rightly never on" if np.isnan(score) else f"F1 {score:.3f}"
