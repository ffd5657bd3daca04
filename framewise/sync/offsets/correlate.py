"""Offset between two signals of the same events, each on its own clock and at its own rate: pure numpy and scipy.

Signals may come from cameras (amount of movement) or sensors (vibration): anything with one number per instant. The match is
where they rise and fall together; their size and unit do not matter.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from framewise.sync.offsets.lines import robust_line
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

MIN_SECONDS = 4.0
MIN_SHARE = 0.2  # of the shorter signal
PART_SECONDS = 5.0
MIN_DRIFT_SECONDS = 120.0  # minimum overlap for measuring a drift
EVEN_RIVAL, MAX_RIVALS = 0.85, 8
LOBE_SECONDS = 0.35  # assumed half width of a peak, seconds
STRONGEST = 0.1  # share of the overlap that agrees most, left out to test if the rest agrees as well


@dataclass(frozen=True)
class Agreement:
    """Best agreement of two signals. offset: positive if the second clock started later. drift: see ``lines``, None if not
    measured.

    score:     the peak in standard deviations of the chance level of such signals at one lag.
    surplus:   the score minus the chance level of the best of all tried lags.
    lasting:   the score without the tenth of the time that agrees most, so that a single coincidence leaves nothing.
    correlation: -1 .. 1, over the overlap. contrast: ratio to the next peak, also with the second signal reversed in time.
    agreement: share of parts that peak at the same lag.
    parts:     number of parts. rivals: offsets that fit equally well. lags, curve (L,): the whole correlation, for plots.
    """

    offset: float
    drift: float | None
    score: float
    surplus: float
    lasting: float
    correlation: float
    contrast: float
    agreement: float
    parts: int
    overlap_seconds: float
    rivals: tuple[float, ...] = field(default=())
    lags: Floats = field(default_factory=lambda: np.zeros(0), repr=False)
    curve: Floats = field(default_factory=lambda: np.zeros(0), repr=False)


def correlate(reference: Signal, other: Signal, max_offset: float, min_overlap_seconds: float = MIN_SECONDS) -> Agreement | str:
    """Find the lag within +-max_offset seconds at which two signals agree best; returns the reason if there is none.

    The only reasons are those that make an answer impossible: a constant signal, too little overlap. The height of a peak
    proves nothing: slowly changing signals reach a correlation of 0.9 by chance. So both are high-passed and their spectrum
    is flattened without moving anything in time, and the peak is expressed in standard deviations for their number of
    independent values.
    """
    for name, signal in (("the first", reference), ("the second", other)):
        if len(signal.seconds) < 3:
            return f"{name} has only {len(signal.seconds)} values"
        if float(np.ptp(signal.values)) <= STILL:
            return f"{name} does not change at all"
    rate = common_rate(reference.rate, other.rate)
    (a, have_a, start_a), (b, have_b, start_b) = on_grid(reference, rate), on_grid(other, rate)
    a, b = flatten(a, have_a, rate), flatten(b, have_b, rate)
    steps, correlation, overlap = overlap_correlation(a, have_a, b, have_b)
    lags = steps / rate + start_a - start_b
    usable = usable_lags(lags, overlap, min(len(a), len(b)), rate, max_offset, min_overlap_seconds)
    if isinstance(usable, str):
        return usable
    spread = samples_by_chance(a, b)
    score = np.where(usable, correlation * np.sqrt(np.maximum(overlap, 1) / spread), -np.inf)
    return _peak(a, have_a, b, have_b, rate, lags, steps, correlation, score, overlap, spread)


def usable_lags(
    lags: Floats, overlap: Floats, shorter: int, rate: float, max_offset: float, min_overlap_seconds: float
) -> npt.NDArray[np.bool_] | str:
    """Mask of lags (L,) within +-max_offset seconds with enough overlap, or the reason why there are none.

    overlap (L,), shorter: number of values at ``rate`` in the overlap and in the shorter signal.
    """
    enough = max(min_overlap_seconds, MIN_SHARE * shorter / rate) * rate
    usable: npt.NDArray[np.bool_] = (overlap >= enough) & (np.abs(lags) <= max_offset + 0.5 / rate)
    if usable.any():
        return usable
    least = f"at least {enough / rate:.1f} s must overlap within +-{max_offset:g} s"
    return f"the shorter one lasts {shorter / rate:.1f} s, and {least}"


def rivals_of(score: Floats, place: int, rate: float) -> tuple[float, list[int]]:
    """(highest score (L,) outside the peak at ``place``, at least 0; places of at most MAX_RIVALS peaks that fit as well)."""
    lobe = max(round(LOBE_SECONDS * rate), 2)
    rest = np.isfinite(score)
    rest[max(0, place - lobe) : place + lobe + 1] = False
    even = np.flatnonzero(rest & (score >= EVEN_RIVAL * score[place]))
    peaks = [int(i) for i in even if score[i] == score[max(0, i - lobe) : i + lobe + 1].max()]
    return float(score[rest].max(initial=0.0)), peaks[:MAX_RIVALS]


def _peak(
    a: Floats, have_a: Floats, b: Floats, have_b: Floats, rate: float, lags: Floats, steps: npt.NDArray[np.int64],
    correlation: Floats, score: Floats, overlap: Floats, spread: float,
) -> Agreement:  # fmt: skip
    place = int(np.argmax(score))
    tried = max(float(np.isfinite(score).sum()) / spread, 2.0)
    # Reversed in time, the second signal is unrelated to the first, but equally rough or smooth.
    _, backwards, overlap_backwards = overlap_correlation(a, have_a, b[::-1], have_b[::-1])
    by_chance = (backwards * np.sqrt(np.maximum(overlap_backwards, 1) / spread))[np.isfinite(score)]
    beside, rivals = rivals_of(score, place, rate)
    second = max(beside, float(by_chance.max(initial=0.0)))
    exact = peak_shift(correlation, place)
    parts, agreement, drift, moved = _parts(a * have_a, b * have_b, rate, int(steps[place]), exact)
    top = float(score[place])
    return Agreement(
        offset=float(lags[place]) + (exact + moved) / rate,
        drift=drift,
        score=top,
        surplus=top - float(np.sqrt(2 * np.log(tried))),
        lasting=_lasting(a, b, rate, int(steps[place]), spread),
        correlation=float(correlation[place]),
        contrast=top / max(second, 1e-9),
        agreement=agreement,
        parts=parts,
        overlap_seconds=float(overlap[place]) / rate,
        rivals=tuple(float(lags[i]) for i in rivals),
        lags=lags[np.isfinite(score)],
        curve=correlation[np.isfinite(score)],
    )


def _lasting(a: Floats, b: Floats, rate: float, step: int, spread: float) -> float:
    """Score at a step without the half seconds that agree most."""
    first, last = max(0, -step), min(len(b), len(a) - step)
    x, y = a[first + step : last + step], b[first:last]
    blocks = max(2, int(len(x) / (0.5 * rate)))
    edges = np.linspace(0, len(x), blocks + 1).astype(int)[:-1]
    product, one, two = (np.add.reduceat(v, edges) for v in (x * y, x * x, y * y))
    kept = np.argsort(product)[: blocks - max(1, round(STRONGEST * blocks))]
    energy = np.sqrt(float(one[kept].sum()) * float(two[kept].sum()))
    return float(product[kept].sum() / max(energy, 1e-12) * np.sqrt(len(x) * len(kept) / blocks / spread))


def _parts(a: Floats, b: Floats, rate: float, step: int, exact: float) -> tuple[int, float, float | None, float]:
    """(number of parts, share that peak at the same lag, drift or None, correction of the offset at t = 0 in samples)."""
    first, last = max(0, -step), min(len(b), len(a) - step)
    count = max(2, int((last - first) / rate / PART_SECONDS))
    reach = max(3, round(1.0 * rate))
    edges = np.linspace(first, last, count + 1).astype(int)
    centres, peaks, heights = [], [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        curve = np.array([correlation_at(a, b, low, high, step + k) for k in range(-reach, reach + 1)])
        place = int(np.argmax(curve))
        centres.append((low + high) / 2 / rate)
        peaks.append(place - reach + peak_shift(curve, place))
        heights.append(max(float(curve[place]), 1e-6))
    near = np.abs(np.array(peaks) - exact) <= max(1.5, 0.06 * rate)
    agreement = float(near.mean())
    overlap = (last - first) / rate
    if overlap < MIN_DRIFT_SECONDS or agreement < 0.5:
        return count, agreement, None, 0.0
    lags = np.array(peaks) / rate
    line = robust_line(centres, lags, np.array(heights) * near, 0.25 / rate)
    return count, agreement, line.drift, line.offset * rate - exact
