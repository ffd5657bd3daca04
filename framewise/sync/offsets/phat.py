"""Offset between two sounds: roughly by loudness in bands, then to fractions of a sample by GCC-PHAT in one band, in chunks.

C. Knapp, G. Carter, The generalized correlation method for estimation of time delay, 1976. Only the compared band is whitened:
whitening frequencies that a filter or codec removed makes unrelated noise agree.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import map_coordinates, uniform_filter1d

from framewise.sync.offsets.lines import MAX_DRIFT, Line, robust_line
from framewise.sync.offsets.sound import ENVELOPE_RATE, SAMPLE_RATE, Sound

Floats = npt.NDArray[np.float64]

BAND_HERTZ = (300.0, 5000.0)
MIN_OVERLAP_SECONDS = 2.0
ROUGH_PART_SECONDS, ROUGH_CHUNK_SECONDS, FINE_CHUNK_SECONDS = 30.0, 0.5, 6.0
MAX_CHUNKS = 90
CANDIDATES = 8
CLEAR_SCORE, CLEAR_CONTRAST = 15.0, 1.5  # from here on, lags beyond the range are not searched
_SMOOTHING_STEPS = (1, 3, 9, 27, 81)  # of the envelope: in a long recording, drift smears the peak
_ROUGH_MARGIN_SECONDS = 0.06
_FINE_MARGIN_SECONDS = 0.25
_DRIFT_STEP_SECONDS = 1e-4  # difference of neighbouring trial lines at their ends
_NEAR_SECONDS, _ROUGH_DRIFT_ERROR = 0.002, 8e-6  # maximum distance of a chunk's peak from the rough line
_FINE_RESOLUTION = 2e-4
_CHUNK_PEAK = 4.0  # standard deviations: minimum height for a chunk to count
_FEW_CHUNKS = 3  # minimum divisor: a single chunk always agrees with itself
_PEAK_SECONDS = 0.003  # half the width of a peak with its side lobes
# Share of the highest peak that makes a lag a rival. In rendered music a wrong lag was once the highest, the true one at .83.
_EVEN_RIVAL = 0.75


@dataclass(frozen=True)
class AudioMatch:
    """Match of two sounds. offset, drift: see ``lines``; not checked for plausibility here.

    score:     the peak of the sum of all chunks' correlations, in standard deviations of the rest.
    contrast:  ratio of that peak to the next highest anywhere; 1 is a tie. agreement: share of the chunks that peak on the
               line; fewer than three chunks count as three.
    overlap_seconds: of the two recordings. rivals: offsets that fit as well.
    """

    offset: float
    drift: float
    drift_error: float
    spread: float
    score: float
    contrast: float
    agreement: float
    overlap_seconds: float
    rivals: tuple[float, ...] = field(default=())


def match_audio(reference: Sound, other: Sound, max_offset: float) -> tuple[AudioMatch | None, AudioMatch | None]:
    """(best match within +-max_offset seconds, best match beyond if the first is not clear); None if there is none.

    Recordings must overlap by MIN_OVERLAP_SECONDS, or by half of the shorter one.
    """
    found = _candidates(reference, other)
    inside = [lag for lag in found if abs(lag) <= max_offset + 0.05]
    outside = [lag for lag in found if abs(lag) > max_offset + 0.05]
    best = _best(reference, other, inside[:CANDIDATES])
    if best and best.score >= CLEAR_SCORE and best.contrast >= CLEAR_CONTRAST:
        return best, None
    return best, _best(reference, other, outside[: CANDIDATES // 2])


def envelope_correlation(reference: Sound, other: Sound) -> tuple[Floats, Floats]:
    """(lags in seconds (L,), correlation of the envelopes (L,)), scaled so that noise has equal height at all lags."""
    a, b = reference.envelope, other.envelope
    size = fft.next_fast_len(a.shape[1] + b.shape[1], real=True)
    cross = np.zeros(size // 2 + 1, np.complex64)
    for one, two in zip(a, b, strict=True):
        cross += fft.rfft(one, size) * np.conj(fft.rfft(two, size))
    lags = np.arange(-(b.shape[1] - 1), a.shape[1])
    sums = fft.irfft(cross, size)[lags].astype(np.float64)
    overlap = np.minimum(a.shape[1], lags + b.shape[1]) - np.maximum(0, lags)
    enough = min(MIN_OVERLAP_SECONDS * ENVELOPE_RATE, 0.5 * min(a.shape[1], b.shape[1]))
    return lags / ENVELOPE_RATE, np.where(overlap >= enough, sums / np.sqrt(np.maximum(overlap, 1)), 0.0)


def _candidates(reference: Sound, other: Sound) -> list[float]:
    """All lags at which the envelopes agree, best first."""
    lags, scores = envelope_correlation(reference, other)
    best: list[tuple[float, float]] = []
    for width in _SMOOTHING_STEPS:
        smooth = uniform_filter1d(scores, width) if width > 1 else scores
        spread = 1.4826 * float(np.median(np.abs(smooth - np.median(smooth)))) or 1.0
        order = np.argpartition(-smooth, min(200, len(smooth) - 1))[:200]
        best += [(float(smooth[i]) / spread, float(lags[i])) for i in order]
    kept: list[float] = []
    for _, lag in sorted(best, reverse=True):
        if all(abs(lag - other_lag) > 0.05 for other_lag in kept):
            kept.append(lag)
    return kept


def _best(reference: Sound, other: Sound, lags: list[float]) -> AudioMatch | None:
    """Match at the rough lag that fine correlation confirms best, with those that it confirms equally as rivals."""
    rough = [line for lag in lags if (line := _rough_line(reference, other, lag))]
    rough.sort(key=lambda item: -item[0])
    found: list[AudioMatch] = []
    for strength, offset, drift in rough:
        known = any(abs(offset - h.offset) < 0.01 for h in found)
        if (
            not known
            and len(found) < 3
            and strength >= 0.4 * rough[0][0]
            and (h := _match_near_line(reference, other, offset, drift))
        ):
            found.append(h)
    if not found:
        return None
    found.sort(key=lambda h: -h.score)
    best, others = found[0], [h for h in found[1:] if abs(h.offset - found[0].offset) > _PEAK_SECONDS]
    # Rivals are compared by height per chunk, not by score, which is lower where recordings overlap less.
    heights = [h.score / np.sqrt(h.overlap_seconds) for h in others]
    height = best.score / np.sqrt(best.overlap_seconds)
    contrast = min([best.contrast, *(height / h for h in heights if h > 0)])
    rivals = tuple(h.offset for h, value in zip(others, heights, strict=True) if value >= _EVEN_RIVAL * height)
    return AudioMatch(
        best.offset, best.drift, best.drift_error, best.spread, best.score, float(contrast), best.agreement,
        best.overlap_seconds, (*best.rivals, *rivals),
    )  # fmt: skip


def _overlap(reference: Sound, other: Sound, lag: float) -> tuple[float, float]:
    """(start, stop) of the overlap on the other's clock."""
    return max(0.0, -lag), min(other.seconds, reference.seconds - lag)


def _chunk_starts(begin: float, end: float, length: float, hop: float) -> Floats:
    """Start times of at most MAX_CHUNKS chunks of ``length`` seconds, evenly spaced."""
    last = max(begin, end - length)
    number = int(np.clip(np.floor((last - begin) / hop) + 1, 1, MAX_CHUNKS))
    return np.asarray(np.linspace(begin, last, number), np.float64)


def _rough_line(reference: Sound, other: Sound, lag: float) -> tuple[float, float, float] | None:
    """(height in standard deviations, offset, drift) of the best line near a lag. Short chunks of the part where the envelopes
    agree most are correlated, and their curves summed along every line of a plausible drift."""
    begin, end = _overlap(reference, other, lag)
    if end - begin < max(0.25, min(MIN_OVERLAP_SECONDS, 0.5 * min(reference.seconds, other.seconds))):
        return None
    begin, end, lag = _best_part(reference, other, begin, end, lag)
    length = min(ROUGH_CHUNK_SECONDS, end - begin)
    margin = _ROUGH_MARGIN_SECONDS + MAX_DRIFT * (end - begin) / 2 + 2 / SAMPLE_RATE
    centres, curves = [], []
    for start in _chunk_starts(begin, end, length, length):
        curve, _ = _correlate(reference, other, start, length, lag, 0.0, margin)
        if curve is not None:
            centres.append(start + length / 2)
            curves.append(curve)
    if not curves:
        return None
    middle = (begin + end) / 2
    height, place, drift = _along_lines(
        np.array(curves), np.array(centres) - middle, round(_ROUGH_MARGIN_SECONDS * SAMPLE_RATE)
    )
    return height, lag + place / SAMPLE_RATE - drift * middle, drift


def _best_part(reference: Sound, other: Sound, begin: float, end: float, lag: float) -> tuple[float, float, float]:
    """(begin, end, lag) of the ROUGH_PART_SECONDS of an overlap in which the envelopes agree most."""
    if end - begin <= ROUGH_PART_SECONDS:
        return begin, end, lag
    reach = int(np.ceil(MAX_DRIFT * (end - begin) / 2 * ENVELOPE_RATE)) + 1
    count, shift = int(ROUGH_PART_SECONDS * ENVELOPE_RATE), round(lag * ENVELOPE_RATE)
    size = fft.next_fast_len(count + 2 * reach, real=True)
    best = (-np.inf, begin, lag)
    for start in _chunk_starts(begin, end, ROUGH_PART_SECONDS, ROUGH_PART_SECONDS):
        first = int(start * ENVELOPE_RATE)
        low = first + shift - reach
        around = reference.envelope[:, max(low, 0) : low + count + 2 * reach]
        around = np.pad(around, ((0, 0), (max(-low, 0), 0)))
        part = other.envelope[:, first : first + count]
        cross = (fft.rfft(around, size, axis=1) * np.conj(fft.rfft(part, size, axis=1))).sum(axis=0)
        curve = fft.irfft(cross, size)[: 2 * reach + 1]
        place = int(np.argmax(curve))
        best = max(best, (float(curve[place]), first / ENVELOPE_RATE, (shift + place - reach) / ENVELOPE_RATE))
    return best[1], min(best[1] + ROUGH_PART_SECONDS, end), best[2]


def _along_lines(curves: Floats, times: Floats, reach: int) -> tuple[float, int, float]:
    """(height, lag in samples, drift) of the highest sum of the curves (C, 2 M + 1) along a line.

    times (C,): seconds from their mean. reach: lags of -reach .. reach samples are tried; M is larger to leave room for drift.
    """
    span = max(float(np.abs(times).max()), 1e-3)
    middle = curves.shape[1] // 2
    highest = (-np.inf, 0, 0.0)
    lags = np.arange(middle - reach, middle + reach + 1)
    rows = np.arange(len(curves))[:, None]
    steps = int(np.ceil(MAX_DRIFT * span / _DRIFT_STEP_SECONDS))
    for drift in np.linspace(-MAX_DRIFT, MAX_DRIFT, 2 * steps + 1):
        shifts = np.round(drift * times * SAMPLE_RATE).astype(np.int64)[:, None]
        total = curves[rows, lags + shifts].sum(axis=0)
        place = int(np.argmax(total))
        highest = max(highest, (float(total[place]), place - reach, float(drift)))
    spread = float(np.sqrt((curves**2).mean() * len(curves))) or 1.0
    return highest[0] / spread, highest[1], highest[2]


def _match_near_line(reference: Sound, other: Sound, offset: float, drift: float, again: int = 2) -> AudioMatch | None:
    """Match longer chunks, with the drift removed, close to a line: their peaks give the refined line, their sum the score."""
    begin, end = _overlap(reference, other, offset)
    length = min(FINE_CHUNK_SECONDS, end - begin)
    if length <= 0.25:
        return None
    centres, curves = [], []
    lags: Floats = np.zeros(0)
    for start in _chunk_starts(begin, end, length, length / 2):
        curve, lags = _correlate(reference, other, start, length, offset, drift, _FINE_MARGIN_SECONDS)
        if curve is not None:
            centres.append(start + length / 2)
            curves.append(curve)
    if not curves:
        return None
    t, rows = np.array(centres), np.array(curves)
    rows /= np.maximum(rows.std(axis=1, keepdims=True), 1e-12)
    near = _NEAR_SECONDS + _ROUGH_DRIFT_ERROR * float(np.abs(t - t.mean()).max())
    tops = [_top(np.where(np.abs(lags) <= near, row, -np.inf), lags) for row in rows]
    heights = np.array([height for _, height in tops])
    own = np.array([lag for lag, _ in tops])
    rest = robust_line(t, own, np.maximum(heights - 3, 0.01) ** 2, _FINE_RESOLUTION)
    line = replace(rest, offset=rest.offset + offset, drift=rest.drift + drift)
    if again and abs(line.drift - drift) * length > _FINE_RESOLUTION / 4 and abs(line.drift) <= 2 * MAX_DRIFT:
        return _match_near_line(reference, other, line.offset, line.drift, again - 1)
    return _score_match(rows, lags, rest.at(t), heights, line, end - begin)


def _score_match(rows: Floats, lags: Floats, shifts: Floats, heights: Floats, line: Line, overlap_seconds: float) -> AudioMatch:
    """Score the sum of the chunks' curves (C, L), each shifted onto the line: height of the peak above the rest."""
    step = lags[1] - lags[0]
    moved = np.array([np.roll(row, -round(float(shift / step))) for row, shift in zip(rows, shifts, strict=True)])
    total = moved.mean(axis=0)
    centre = len(lags) // 2
    reach = round(_PEAK_SECONDS / step)
    rest = np.ones(len(total), bool)
    rest[centre - reach : centre + reach + 1] = False
    peak = float(total[centre - 3 : centre + 4].max())
    spread = 1.4826 * float(np.median(np.abs(total[rest]))) or 1e-12
    second = float(total[rest].max())
    rivals = [
        float(lags[i])
        for i in np.flatnonzero(rest & (total >= _EVEN_RIVAL * peak))
        if total[i] == total[max(0, i - reach) : i + reach].max()
    ]
    agreeing = float((line.inliers & (heights > _CHUNK_PEAK)).sum())
    return AudioMatch(
        line.offset, line.drift, line.drift_error, line.spread, peak / spread, peak / max(second, 1e-12),
        agreeing / max(len(rows), _FEW_CHUNKS), overlap_seconds, tuple(line.offset + r for r in rivals[:6]),
    )  # fmt: skip


def _correlate(
    reference: Sound, other: Sound, start: float, length: float, offset: float, drift: float, margin: float
) -> tuple[Floats | None, Floats]:
    """GCC-PHAT of one chunk of the other sound: (curve (L,), lags (L,) relative to offset + drift * t, in -margin .. margin).

    The curve is None for a silent chunk. start, length: seconds on the other's clock; the chunk is stretched by the drift.
    """
    count, reach = int(length * SAMPLE_RATE), int(np.ceil(margin * SAMPLE_RATE))
    lags = np.arange(-reach, reach + 1) / SAMPLE_RATE
    first = round(start * SAMPLE_RATE)
    chunk = _read(other.samples, first, count + 2)
    # Sample k of the stretched chunk is at start + k / (1 + drift) on the other's clock: one sample apart on the reference's.
    exact = (first / SAMPLE_RATE) * (1 + drift) + offset
    begin = round(exact * SAMPLE_RATE)
    where = np.arange(count) / (1 + drift) + (begin / SAMPLE_RATE - exact) * SAMPLE_RATE / (1 + drift)
    chunk = (
        map_coordinates(chunk, [where], order=3, mode="constant", prefilter=True)
        if drift or begin != exact * SAMPLE_RATE
        else chunk[:count]
    )
    around = _read(reference.samples, begin - reach, count + 2 * reach)
    if not chunk.any() or not around.any():
        return None, lags
    size = fft.next_fast_len(count + 2 * reach, real=True)
    cross = fft.rfft(around, size) * np.conj(fft.rfft(chunk.astype(np.float32), size))
    hertz = np.arange(len(cross)) * (SAMPLE_RATE / size)
    band = (hertz >= BAND_HERTZ[0]) & (hertz <= BAND_HERTZ[1])
    white = np.where(band, cross / np.maximum(np.abs(cross), 1e-6), 0)
    return fft.irfft(white, size)[: 2 * reach + 1].astype(np.float64), lags


def _read(samples: npt.NDArray[np.int16], first: int, count: int) -> npt.NDArray[np.float32]:
    """Samples first .. first + count as float32, zero outside the recording."""
    part = np.zeros(count, np.float32)
    begin, end = max(first, 0), min(first + count, len(samples))
    if end > begin:
        part[begin - first : end - first] = samples[begin:end]
    return part


def _top(curve: Floats, lags: Floats) -> tuple[float, float]:
    """(lag, height) of the highest point, refined between samples by a parabola."""
    place = int(np.argmax(curve))
    if not 0 < place < len(curve) - 1 or not np.isfinite(curve[place - 1 : place + 2]).all():
        return float(lags[place]), float(curve[place])
    left, middle, right = curve[place - 1 : place + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(lags[place] + shift * (lags[1] - lags[0])), float(middle)
