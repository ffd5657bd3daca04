"""Offset between two sets of signals of the same event, without knowing which signals correspond, or their signs.

A rotating camera moves its picture sideways, up and down and about its centre; a gyroscope on it measures three axes of any
orientation. Each signal of one set is a mixture of the other set's. So each lag is scored by the agreement of all pairs
together. Signs and mixtures are far more distinctive than the amount of movement: two things that move at the same time rarely
move in the same directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framewise.sync.offsets.correlate import (
    MIN_DRIFT_SECONDS,
    MIN_SECONDS,
    PART_SECONDS,
    STRONGEST,
    Agreement,
    rivals_of,
    usable_lags,
)
from framewise.sync.offsets.lines import USUAL_DRIFT, robust_line
from framewise.sync.offsets.signals import (
    STILL,
    Floats,
    Signal,
    common_rate,
    correlation_at,
    flatten,
    on_grid,
    overlap_correlation,
    peak_shift,
    samples_by_chance,
)

MAX_SET_CHANNELS = 6  # channels of a set; more are reduced to the main components
_RIDGE = 0.02
_BLOCK_SECONDS = 0.5


@dataclass(frozen=True)
class _Set:
    """values (N, C): high-passed, of equal variance and uncorrelated; have (N,): 1 where known; start: seconds."""

    values: Floats
    have: Floats
    start: float


def correlate_channels(
    references: Sequence[Signal], others: Sequence[Signal], max_offset: float, min_overlap_seconds: float = MIN_SECONDS
) -> Agreement | str:
    """Like ``correlate.correlate``, for two sets of signals. The signals of a set share the same seconds.

    score: the sum of squares over all pairs, as an equally rare number of standard deviations. lasting: from the mixture that
    is learned from all other half seconds, so it does not grow with the number of pairs. agreement: of parts, each with the
    mixture of the others.
    """
    references, others = _moving(references), _moving(others)
    for name, signals in (("the first", references), ("the second", others)):
        if not signals:
            return f"{name} does not change at all"
    rate = common_rate(references[0].rate, others[0].rate)
    a, b = _prepared(references, rate), _prepared(others, rate)
    steps, overlap, score = _scores(a, b)
    lags = steps / rate + a.start - b.start
    usable = usable_lags(lags, overlap, min(len(a.values), len(b.values)), rate, max_offset, min_overlap_seconds)
    if isinstance(usable, str):
        return usable
    _, _, backwards = _scores(a, _Set(b.values[::-1], b.have[::-1], b.start))
    return _peak(a, b, rate, lags, steps, overlap, np.where(usable, score, -np.inf), backwards[usable])


def _moving(signals: Sequence[Signal]) -> list[Signal]:
    return [s for s in signals if len(s.seconds) > 2 and float(np.ptp(s.values)) > STILL]


def _prepared(signals: Sequence[Signal], rate: float) -> _Set:
    """Put signals on the grid, flatten them and decorrelate the channels."""
    grids = [on_grid(signal, rate) for signal in signals]
    have = np.minimum.reduce([known for _, known, _ in grids])
    flat = np.stack([flatten(values, have, rate) for values, _, _ in grids], axis=1)
    size, axes = np.linalg.eigh(flat.T @ flat / max(have.sum(), 1.0))
    kept = np.argsort(-size)[:MAX_SET_CHANNELS]
    kept = kept[size[kept] > _RIDGE * size.max()]  # two columns of the same signal count as one
    return _Set(flat @ (axes[:, kept] / np.sqrt(size[kept])), have, grids[0][2])


def _scores(a: _Set, b: _Set) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """(steps (L,), known values in the overlap (L,), score (L,))."""
    total: Floats | float = 0.0
    for x in a.values.T:
        for y in b.values.T:
            steps, correlation, overlap = overlap_correlation(x, a.have, y, b.have)
            total = total + correlation**2 * np.maximum(overlap, 1) / samples_by_chance(x, y)
    return steps, overlap, _normal(np.asarray(total), a.values.shape[1] * b.values.shape[1])


def _normal(squares: Floats, pairs: int) -> Floats:
    """Convert a sum of ``pairs`` squares of normal values to an equally rare normal value (Wilson and Hilferty)."""
    part = 2 / (9 * pairs)
    return np.asarray((np.cbrt(squares / pairs) - (1 - part)) / np.sqrt(part))


def _peak(
    a: _Set, b: _Set, rate: float, lags: Floats, steps: npt.NDArray[np.int64], overlap: Floats, score: Floats, backwards: Floats
) -> Agreement:  # fmt: skip
    place = int(np.argmax(score))
    top, step = float(score[place]), int(steps[place])
    spread = float(np.mean([samples_by_chance(x, y) for x in a.values.T for y in b.values.T]))
    beside, rivals = rivals_of(score, place, rate)
    second = max(beside, float(backwards.max(initial=0.0)))
    first, last = max(0, -step), min(len(b.values), len(a.values) - step)
    products = np.einsum("np,nq->npq", a.values[first + step : last + step], b.values[first:last])
    mixed = b.values @ _unit(products.sum(0)).T
    exact = peak_shift(score, place) if np.isfinite(score[max(0, place - 1) : place + 2]).all() else 0.0
    parts, agreement, drift, moved = _parts(a, b, products, rate, step, exact)
    correlation = correlation_at(a.values, mixed, first, last, step)
    return Agreement(
        offset=float(lags[place]) + (exact + moved) / rate,
        drift=drift,
        score=top,
        surplus=top - float(np.sqrt(2 * np.log(max(float(np.isfinite(score).sum()) / spread, 2.0)))),
        lasting=_lasting(products, rate, spread),
        correlation=correlation,
        contrast=top / max(second, 1e-9),
        agreement=agreement,
        parts=parts,
        overlap_seconds=float(overlap[place]) / rate,
        rivals=tuple(float(lags[i]) for i in rivals),
        lags=lags[np.isfinite(score)],
        curve=score[np.isfinite(score)],
    )


def _unit(mixture: Floats) -> Floats:
    return np.asarray(mixture / max(float(np.linalg.norm(mixture)), 1e-12))


def _lasting(products: Floats, rate: float, spread: float) -> float:
    """Score of each half second with the mixture of all others, without the tenth that agrees most. products (N, P, Q)."""
    blocks = max(2, int(len(products) / (_BLOCK_SECONDS * rate)))
    edges = np.linspace(0, len(products), blocks + 1).astype(int)[:-1]
    sums = np.add.reduceat(products, edges, axis=0)
    agree = np.array([float((block * _unit(sums.sum(0) - block)).sum()) for block in sums])
    kept = np.sort(agree)[: blocks - max(1, round(STRONGEST * blocks))]
    return float(kept.sum() / np.sqrt(len(products) * len(kept) / blocks * spread))


def _parts(
    a: _Set, b: _Set, products: Floats, rate: float, step: int, exact: float
) -> tuple[int, float, float | None, float]:  # fmt: skip
    """(number of parts, share of them that peak at the same lag, drift or None, correction of the offset at t = 0 in samples).

    Each part uses the mixture of all others. In a long overlap the clocks drift apart: then the lags are compared with a line.
    """
    first, whole, overlap = max(0, -step), products.sum(0), len(products) / rate
    count = max(2, int(overlap / PART_SECONDS))
    reach = max(3, round((1.0 + USUAL_DRIFT * overlap) * rate))
    edges = np.linspace(0, len(products), count + 1).astype(int)
    centres, peaks, heights = [], [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        part, place = b.values[first + low : first + high], step + first + low
        mixed = part @ _unit(whole - products[low:high].sum(0)).T
        curve = np.array([correlation_at(a.values, mixed, 0, len(mixed), place + k) for k in range(-reach, reach + 1)])
        top = int(np.argmax(curve))
        centres.append(b.start + (first + (low + high) / 2) / rate)
        peaks.append((top - reach + peak_shift(curve, top)) / rate)
        heights.append(max(float(curve[top]), 1e-6))
    lags, same = np.array(peaks), max(1.5 / rate, 0.06)
    if overlap < MIN_DRIFT_SECONDS:
        return count, float((np.abs(lags - exact / rate) <= same).mean()), None, 0.0
    line = robust_line(centres, lags, heights, 0.25 / rate)
    agreement = float((np.abs(lags - line.at(centres)) <= same).mean())
    return count, agreement, *((line.drift, line.offset * rate - exact) if agreement >= 0.5 else (None, 0.0))
