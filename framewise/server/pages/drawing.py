"""Geometry of drawings, which templates put into SVG. Independent of HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from framewise.core.metrics import runs

CURVE_POINTS = 240
MAX_BARS = 400  # of one ribbon; more would be narrower than a pixel
# For labels without a usable colour. Each has a contrast of 3 to 1 with white and with the dark background.
PALETTE = ("#2f7ed8", "#c8641e", "#3c9a4a", "#b0529e", "#8c7a12", "#4a86a8", "#c94f5c", "#7a6bd1")
CURVE_HEIGHT = 24


@dataclass(frozen=True)
class Ribbon:
    """Row of a label: bars as (first, width), in frames from 0; points of the curve in SVG's syntax. places: stretches where
    truth and prediction differ."""

    label: str
    colour: str
    truth: list[tuple[int, int]] | None
    predicted: list[tuple[int, int]]
    curve: str
    places: list[tuple[int, int]]


def colour(given: str | None, number: int) -> str:
    """Colour of a label as #rrggbb; for an invalid one, the default colour with this number."""
    try:
        red, green, blue = ImageColor.getrgb((given or "").strip())[:3]
    except ValueError:
        return PALETTE[number % len(PALETTE)]
    return f"#{red:02x}{green:02x}{blue:02x}"


def bars(on: npt.ArrayLike) -> list[tuple[int, int]]:
    """Bars (first, width) of the runs of true values. on: (T,)."""
    return spans(runs(on))


def spans(found: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Bars (first, width) of rows (index, stop); the longest ones if there are very many."""
    if len(found) > MAX_BARS:
        longest = np.argsort(found[:, 0] - found[:, 1], kind="stable")[:MAX_BARS]
        found = found[np.sort(longest)]
    return [(int(start), int(stop - start)) for start, stop in found]


def curve(scores: npt.NDArray[np.uint8]) -> str:
    """Points of a score over time, the maximum of each stretch. scores: (T,), 0 to 255; y is 0 at the top."""
    if not len(scores):
        return ""
    edges = np.unique(np.linspace(0, len(scores), min(CURVE_POINTS, len(scores)) + 1).astype(int))
    highest = np.maximum.reduceat(scores, edges[:-1]).astype(float)
    middles = (edges[:-1] + edges[1:]) / 2
    heights = (1 - highest / 255) * CURVE_HEIGHT
    return " ".join(f"{x:g},{y:.1f}" for x, y in zip(middles, heights, strict=True))


@dataclass(frozen=True)
class Point:
    """A version in a chart, in the chart's units: y values of all series, and the interval of the first."""

    x: float
    y: list[float | None]
    low: float | None
    high: float | None
    name: str
    value: float


@dataclass(frozen=True)
class Chart:
    """A chart. lines: points of each series in SVG's syntax. ticks: (x, text)."""

    width: int
    height: int
    points: list[Point]
    lines: list[str]
    ticks: list[tuple[float, str]]


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 190, 30, 12, 10, 26


def score_height(score: float) -> float:
    """y of a score from 0 to 1."""
    return round(TOP + (1 - score) * (HEIGHT - TOP - BOTTOM), 1)


def chart(values: Sequence[tuple[float, str, list[float | None], tuple[float | None, float | None]]]) -> Chart:
    """Chart of points (x value, name, scores of each series, interval of the first), in ascending order of x."""
    xs = [value for value, *_ in values]
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)

    def across(x: float) -> float:
        share = (x - low) / (high - low) if high > low else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def up(score: float | None) -> float | None:
        return None if score is None else score_height(score)

    points = [Point(across(x), [up(s) for s in y], up(ends[0]), up(ends[1]), name, x) for x, name, y, ends in values]
    series = range(len(points[0].y)) if points else range(0)
    lines = [" ".join(f"{p.x},{p.y[n]}" for p in points if p.y[n] is not None) for n in series]
    middle = sorted({low, round((low + high) / 2), high}) if xs else []
    return Chart(WIDTH, HEIGHT, points, lines, [(across(x), f"{x:g}") for x in middle])
