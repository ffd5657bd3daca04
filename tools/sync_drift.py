"""Compare two ways to stretch sound to another clock: by rates, as in ``framewise sync apply --correct-drift``, and by atempo.

Prints, for tones and drifts, decibels of the tone above its difference from the correct one, and the error at the end in
microseconds.
"""

import subprocess

import numpy as np
import numpy.typing as npt

from framewise.sync.apply.applying import drift_rates
from framewise.sync.ffmpeg import program

SAMPLE_RATE, SECONDS = 48000, 60
FloatArray = npt.NDArray[np.floating]
TONES, DRIFTS_PPM = (440.0, 3000.0, 10000.0), (100.0, -37.3)


def stretched(samples: FloatArray, graph: str) -> FloatArray:
    sound = ("-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1")
    command = [program(), "-loglevel", "error", *sound, "-i", "pipe:0", "-af", graph, "-f", "f32le", "pipe:1"]
    done = subprocess.run(command, input=samples.astype(np.float32).tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32)


def measured(found: FloatArray, tone: float, rate: float) -> tuple[float, float]:
    """(decibels, microseconds at the end)."""
    seconds = np.arange(len(found)) / SAMPLE_RATE
    right, inner = np.sin(2 * np.pi * tone * seconds / rate), slice(SAMPLE_RATE, len(found) - SAMPLE_RATE)
    error = found[inner] - right[inner]
    decibels = 10 * np.log10((right[inner] ** 2).mean() / (error**2).mean())
    end = slice(-4 * SAMPLE_RATE, -2 * SAMPLE_RATE)
    phase = np.angle((found[end] * np.exp(-2j * np.pi * tone / rate * seconds[end])).sum() * 1j)
    return float(decibels), float(phase / (2 * np.pi * tone) * 1e6)


def main() -> None:
    print("TONE Hz  DRIFT ppm  WAY      dB     END us")
    for tone in TONES:
        samples = np.sin(2 * np.pi * tone * np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE)
        for ppm in DRIFTS_PPM:
            rate = 1 + ppm * 1e-6
            up, slowed = drift_rates(rate)
            ways = {"rates": f"aresample={up},asetrate={slowed},aresample={SAMPLE_RATE}", "atempo": f"atempo={1 / rate:.12f}"}
            for name, graph in ways.items():
                decibels, end = measured(stretched(samples, graph), tone, rate)
                print(f"{tone:7.0f}  {ppm:+9.1f}  {name:6}  {decibels:5.1f}  {end:+9.2f}")


if __name__ == "__main__":
    main()
