"""Line through lags: offset and drift between two clocks. Pure numpy.

A lag is the time of an instant on the reference's clock minus its time on the other clock: lag = offset + drift * t, with t
on the other clock, in seconds. Positive: the other recording started later.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Clocks of cameras differ by about 100 ppm; a line through few lags is kept near that range.
USUAL_DRIFT = 100e-6
MAX_DRIFT = 500e-6
_ROUNDS = 30


@dataclass(frozen=True)
class Line:
    """lag = offset + drift * t.

    drift_error: standard error of ``drift``. spread: robust standard deviation of the lags about the line, seconds.
    inliers (N,) bool: the lags that lie on it.
    """

    offset: float
    drift: float
    drift_error: float
    spread: float
    inliers: npt.NDArray[np.bool_]

    def at(self, seconds: npt.ArrayLike) -> Floats:
        return self.offset + self.drift * np.asarray(seconds, dtype=np.float64)


def robust_line(seconds: npt.ArrayLike, lags: npt.ArrayLike, weights: npt.ArrayLike, resolution: float) -> Line:
    """Fit a line to most of the lags (N,) at times (N,), N >= 1; the others are outliers without influence.

    resolution: tolerance in seconds within which a lag is never an outlier. Both are centred before the fit, and the intercept
    is converted back, so that the offset is that at t = 0. Few lags do not determine a drift: it stays near 0.
    """
    t, lag, weight = (np.asarray(x, dtype=np.float64) for x in (seconds, lags, weights))
    trust = weight / max(weight.max(initial=0.0), 1e-12)
    centre, level, slope = float(np.average(t, weights=trust + 1e-12)), float(np.median(lag)), 0.0
    scale, error = resolution, USUAL_DRIFT
    for _ in range(_ROUNDS):
        before = (level, slope)
        rest = lag - level - slope * (t - centre)
        scale = max(1.4826 * float(np.median(np.abs(rest))), 0.05 * resolution)
        w = trust * np.clip(1 - (rest / (4.7 * scale)) ** 2, 0, None) ** 2  # Tukey's biweight
        if w.sum() <= 1e-9:
            break
        centre = float(np.average(t, weights=w))
        level = float(np.average(lag, weights=w))
        prior = (scale / USUAL_DRIFT) ** 2
        inertia = float(np.sum(w * (t - centre) ** 2))
        slope = float(np.sum(w * (t - centre) * (lag - level))) / (inertia + prior)
        error = scale / float(np.sqrt(inertia + prior))
        if abs(level - before[0]) + abs(slope - before[1]) * max(float(np.ptp(t)), 1.0) < 1e-9:
            break
    rest = np.abs(lag - level - slope * (t - centre))
    return Line(level - slope * centre, slope, error, scale, rest <= max(4.7 * scale, resolution))
