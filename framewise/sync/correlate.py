"""The offset between two signals that follow the same happenings, each on its own clock, at its own rate: pure numpy and scipy.

Signals of cameras (how much moves), of sensors (how much is shaken): anything with one number an instant. What is asked is when
they rise and fall together; how large they are, and in what unit, does not matter.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import uniform_filter1d

from framewise.sync.lines import robust_line

Floats = npt.NDArray[np.float64]

MAX_RATE = 120.0
# Slower changes (light, a tide of people) are alike in recordings that have nothing to do with each other.
SLOWEST_SECONDS = 2.0
FASTEST_HERTZ = 12.0
MIN_SECONDS = 4.0
MIN_SHARE = 0.2  # of the shorter signal
PART_SECONDS = 5.0
MIN_DRIFT_SECONDS = 120.0  # a drift is asked of signals that overlap for as long
_WHITENING = 0.7
_EVEN_RIVAL = 0.85
_LOBE = 0.35  # half width of a peak, seconds, when nothing else is known
STILL = 1e-9
_CLIP = 4.0  # standard deviations: one flash must not decide
_STRONGEST = 0.1  # of the overlap: what agrees most, and is left out to see whether the rest agrees as well


@dataclass(frozen=True)
class Signal:
    """seconds (N,) ascending, on the recording's own clock; values (N,) finite, larger where more happens.

    Where samples are missing for longer than ``gap_seconds``, the signal is unknown, not zero.
    """

    seconds: Floats
    values: Floats
    gap_seconds: float = 0.5

    @property
    def rate(self) -> float:
        """Samples a second, as most of them follow each other; 0 for fewer than two."""
        return 1 / float(np.median(np.diff(self.seconds))) if len(self.seconds) > 1 else 0.0


@dataclass(frozen=True)
class Agreement:
    """How two signals agree best. offset: positive, the second clock began later; drift: see ``lines``, None if not asked.

    score:     the peak in standard deviations of what signals of this kind reach by chance, at one lag.
    surplus:   the score over what the best of all lags that were tried reaches by chance.
    lasting:   the score without the tenth of the time that agrees most: one happening that is alike by chance leaves nothing.
    correlation: in -1 .. 1, over the overlap. contrast: peak over the next peak, also of the second signal played backwards.
    agreement: share of parts that peak there too.
    parts:     how many parts were asked. rivals: offsets that fit as well. lags, curve (L,): all of it, for a picture.
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
    """The lag within +-max_offset seconds at which two signals agree best, or in words why none can be told.

    Nothing is judged here but what makes an answer impossible: a constant signal, too little overlap. The height of a peak is
    no proof: signals that change slowly reach a correlation of 0.9 by chance. So both are freed of what is slow, made flat in
    their spectrum without moving anything in time, and the peak is counted in standard deviations for as many independent
    values as they have.
    """
    for name, signal in (("the first", reference), ("the second", other)):
        if len(signal.seconds) < 3:
            return f"{name} has only {len(signal.seconds)} values"
        if float(np.ptp(signal.values)) <= STILL:
            return f"{name} does not change at all"
    rate = _common_rate(reference.rate, other.rate)
    (a, have_a, start_a), (b, have_b, start_b) = _on_grid(reference, rate), _on_grid(other, rate)
    a, b = _flatten(a, have_a, rate), _flatten(b, have_b, rate)
    enough = max(min_overlap_seconds, MIN_SHARE * min(len(a), len(b)) / rate) * rate
    steps, correlation, overlap = _overlap_correlation(a, have_a, b, have_b)
    lags = steps / rate + start_a - start_b
    usable = (overlap >= enough) & (np.abs(lags) <= max_offset + 0.5 / rate)
    if not usable.any():
        shorter = min(len(a), len(b)) / rate
        least = f"at least {enough / rate:.1f} s must overlap within +-{max_offset:g} s"
        return f"the shorter one tells of {shorter:.1f} s, and {least}"
    spread = _chance(a, b)
    score = np.where(usable, correlation * np.sqrt(np.maximum(overlap, 1) / spread), -np.inf)
    return _peak(a, have_a, b, have_b, rate, lags, steps, correlation, score, overlap, spread)


def _peak(
    a: Floats, have_a: Floats, b: Floats, have_b: Floats, rate: float, lags: Floats, steps: npt.NDArray[np.int64],
    correlation: Floats, score: Floats, overlap: Floats, spread: float,
) -> Agreement:  # fmt: skip
    place = int(np.argmax(score))
    tried = max(float(np.isfinite(score).sum()) / spread, 2.0)
    lobe = max(round(_LOBE * rate), 2)
    rest = np.isfinite(score)
    rest[max(0, place - lobe) : place + lobe + 1] = False
    # Played backwards, the second signal has nothing to do with the first, and is as rough or as smooth as it was.
    _, backwards, overlap_backwards = _overlap_correlation(a, have_a, b[::-1], have_b[::-1])
    by_chance = (backwards * np.sqrt(np.maximum(overlap_backwards, 1) / spread))[np.isfinite(score)]
    second = max(float(score[rest].max(initial=0.0)), float(by_chance.max(initial=0.0)))
    even = np.flatnonzero(rest & (score >= _EVEN_RIVAL * score[place]))
    rivals = [i for i in even if score[i] == score[max(0, i - lobe) : i + lobe + 1].max()]
    exact = _between(correlation, place)
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
        rivals=tuple(float(lags[i]) for i in rivals[:8]),
        lags=lags[np.isfinite(score)],
        curve=correlation[np.isfinite(score)],
    )


def _common_rate(one: float, two: float) -> float:
    """The faster of two rates, but not more than four times the slower: what lies beyond has no partner."""
    return float(min(max(one, two), 4 * min(one, two), MAX_RATE))


def _on_grid(signal: Signal, rate: float) -> tuple[Floats, Floats, float]:
    """(values (N,), 1 where known and 0 in gaps (N,), seconds of the first) at ``rate``; faster signals are averaged."""
    seconds, values = signal.seconds, signal.values
    if signal.rate > 1.5 * rate:
        values = uniform_filter1d(values, max(1, round(signal.rate / rate)))
    grid = np.arange(seconds[0], seconds[-1] + 1e-9, 1 / rate)
    after = np.clip(np.searchsorted(seconds, grid, side="right"), 1, len(seconds) - 1)
    known = (seconds[after] - seconds[after - 1]) <= max(signal.gap_seconds, 3 / max(signal.rate, 1e-9))
    return np.interp(grid, seconds, values), known.astype(np.float64), float(seconds[0])


def _flatten(values: Floats, have: Floats, rate: float) -> Floats:
    """Without what is slow, without outliers, and with its spectrum made flat up to FASTEST_HERTZ; nothing moves in time."""
    width = max(3, round(SLOWEST_SECONDS * rate) | 1)
    mean = uniform_filter1d(values * have, width) / np.maximum(uniform_filter1d(have, width), 1e-6)
    rest = (values - mean) * have
    scale = 1.4826 * float(np.median(np.abs(rest[have > 0]))) or float(rest.std()) or 1.0
    rest = np.clip(rest / scale, -_CLIP, _CLIP)
    size = fft.next_fast_len(2 * len(rest), real=True)
    spectrum = fft.rfft(rest, size)
    hertz = np.arange(len(spectrum)) * rate / size
    smooth = np.sqrt(uniform_filter1d(np.abs(spectrum) ** 2, max(3, round(1.0 * size / rate) | 1)))
    gain = np.maximum(smooth, 0.02 * smooth.max()) ** -_WHITENING
    gain *= np.clip(hertz * SLOWEST_SECONDS, 0, 1) / np.sqrt(1 + (hertz / FASTEST_HERTZ) ** 4)
    flat = fft.irfft(spectrum * gain, size)[: len(rest)] * have
    return np.asarray(flat / max(float(flat.std()), 1e-12))


def _overlap_correlation(a: Floats, have_a: Floats, b: Floats, have_b: Floats) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """(steps (L,), correlation over the overlap (L,), known values in the overlap (L,)). A step k pairs a[n + k] with b[n]."""
    size = fft.next_fast_len(len(a) + len(b), real=True)
    steps = np.arange(-(len(b) - 1), len(a))

    def cross(x: Floats, y: Floats) -> Floats:
        return np.asarray(fft.irfft(fft.rfft(x, size) * np.conj(fft.rfft(y, size)), size)[steps])

    energy = np.maximum(cross(a * a, have_b), 0) * np.maximum(cross(have_a, b * b), 0)
    floor = 1e-6 * float(energy.max(initial=1e-12))
    return steps, cross(a, b) / np.sqrt(np.maximum(energy, floor)), np.round(cross(have_a, have_b))


def _chance(a: Floats, b: Floats) -> float:
    """How many samples count as one independent value: Bartlett's sum over both autocorrelations."""
    size = fft.next_fast_len(2 * max(len(a), len(b)), real=True)
    power_a, power_b = np.abs(fft.rfft(a, size)) ** 2, np.abs(fft.rfft(b, size)) ** 2
    return max(1.0, float((power_a * power_b).mean() / (power_a.mean() * power_b.mean())))


def _between(curve: Floats, place: int) -> float:
    """Where in -0.5 .. 0.5 samples about a place the peak lies, by a parabola."""
    if not 0 < place < len(curve) - 1:
        return 0.0
    left, middle, right = curve[place - 1 : place + 2]
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def _lasting(a: Floats, b: Floats, rate: float, step: int, spread: float) -> float:
    """The score at a step without the half seconds that agree most."""
    first, last = max(0, -step), min(len(b), len(a) - step)
    x, y = a[first + step : last + step], b[first:last]
    blocks = max(2, int(len(x) / (0.5 * rate)))
    edges = np.linspace(0, len(x), blocks + 1).astype(int)[:-1]
    product, one, two = (np.add.reduceat(v, edges) for v in (x * y, x * x, y * y))
    kept = np.argsort(product)[: blocks - max(1, round(_STRONGEST * blocks))]
    energy = np.sqrt(float(one[kept].sum()) * float(two[kept].sum()))
    return float(product[kept].sum() / max(energy, 1e-12) * np.sqrt(len(x) * len(kept) / blocks / spread))


def _parts(a: Floats, b: Floats, rate: float, step: int, exact: float) -> tuple[int, float, float | None, float]:
    """(parts, share of them that peak at the same lag, drift or None, what the offset moves by in samples at t = 0)."""
    first, last = max(0, -step), min(len(b), len(a) - step)
    count = max(2, int((last - first) / rate / PART_SECONDS))
    reach = max(3, round(1.0 * rate))
    edges = np.linspace(first, last, count + 1).astype(int)
    centres, peaks, heights = [], [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        curve = np.array([_product(a, b, low, high, step + k) for k in range(-reach, reach + 1)])
        place = int(np.argmax(curve))
        centres.append((low + high) / 2 / rate)
        peaks.append(place - reach + _between(curve, place))
        heights.append(max(float(curve[place]), 1e-6))
    near = np.abs(np.array(peaks) - exact) <= max(1.5, 0.06 * rate)
    agreement = float(near.mean())
    overlap = (last - first) / rate
    if overlap < MIN_DRIFT_SECONDS or agreement < 0.5:
        return count, agreement, None, 0.0
    lags = np.array(peaks) / rate
    line = robust_line(centres, lags, np.array(heights) * near, 0.25 / rate)
    return count, agreement, line.drift, line.offset * rate - exact


def _product(a: Floats, b: Floats, low: int, high: int, step: int) -> float:
    """Correlation of b[low:high] with a, ``step`` samples later, (N,) or (N, C); what lies outside of a counts as zero."""
    begin, end = max(low, -step), min(high, len(a) - step)
    if end - begin < 2:
        return 0.0
    x, y = a[begin + step : end + step].ravel(), b[begin:end].ravel()
    return float(x @ y / max(np.sqrt(float(x @ x) * float(y @ y)), 1e-12))
