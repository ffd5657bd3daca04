"""A film that shakes with a sensor."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, gaussian_filter1d, shift

from tests.videos import write_video

RATE, FRAMES = 100, 25
EARLY = 3.0  # the sensor of the shaken film was on for so long before it
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shaken:
    """A film of 10 s and a gyroscope on the same camera. turned (N, 2): pixels a second sideways and down, from -EARLY s on."""

    film: Path
    turned: Floats
    values: Floats


def restless(rng: np.random.Generator, seconds: float, channels: int) -> Floats:
    """(N, channels) at RATE: what changes a few times a second, about zero."""
    noise = rng.normal(size=(round(seconds * RATE), channels))
    smooth = gaussian_filter1d(noise, 0.05 * RATE, axis=0)
    return np.asarray(smooth / smooth.std(axis=0))


def shake(folder: Path) -> Shaken:
    """Film it, into a folder."""
    rng = np.random.default_rng(4)
    turned = 20 * restless(rng, 16, 2)
    at = np.arange(len(turned)) / RATE - EARLY
    ground = gaussian_filter(rng.normal(size=(160, 200)), 1.5)
    ground = np.clip(128 + 50 * ground / ground.std(), 0, 255)
    place = np.cumsum(turned, axis=0) / RATE
    pictures = []
    for number in range(10 * FRAMES):
        x, y = (np.interp(number / FRAMES, at, column) for column in place.T)
        moved = shift(ground, (y, x), order=1, mode="wrap")[32:128, 36:164]
        pictures.append(np.repeat(moved.astype(np.uint8)[..., None], 3, axis=2))
    mounted = np.array([[0.1, -0.9, 0.3], [0.8, 0.2, 0.4]]) / 20  # the sensor lies askew, and counts the other way round
    values = turned @ mounted + rng.normal(0, 0.2, (len(turned), 3)) + 0.5
    return Shaken(write_video(folder / "shaken.mp4", pictures, FRAMES), turned, values)


def write_series(path: Path, values: Floats, clock: float = 1000.0, rate: float = RATE) -> Path:
    rows = [",".join([f"{clock + n / rate:.3f}", *(f"{value:.4f}" for value in row)]) for n, row in enumerate(values)]
    path.write_text("time," + ",".join("xyz"[: values.shape[1]]) + "\n" + "\n".join(rows) + "\n")
    return path
