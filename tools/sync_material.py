"""Recordings with known truth for ``sync_benchmark.py``: several kinds of sound, recorded by several microphones."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

Floats = npt.NDArray[np.float32]

BASE_RATE = 24000
KINDS = ("speech", "music", "impulsive")


def speech_like(rng: np.random.Generator, seconds: float) -> Floats:
    """Syllables: noise or a pulse train of gliding pitch through three changing formants, with pauses between phrases."""
    out = np.zeros(int(seconds * BASE_RATE) + BASE_RATE, np.float32)
    at, pitch = 0.0, rng.uniform(90, 230)
    while at < seconds:
        for _ in range(rng.integers(4, 14)):
            length = rng.uniform(0.09, 0.28)
            n = int(length * BASE_RATE)
            f0 = pitch * rng.uniform(0.85, 1.2) * np.linspace(1, rng.uniform(0.85, 1.15), n)
            voiced = rng.random() < 0.7
            phase = np.cumsum(f0 / BASE_RATE)
            source = np.diff(np.floor(phase), prepend=0) if voiced else rng.normal(0, 0.08, n)
            source = source + rng.normal(0, 0.004, n)
            sound = np.zeros(n)
            for formant, width in zip(
                (rng.uniform(250, 850), rng.uniform(900, 2400), rng.uniform(2400, 3800)), (80, 110, 160), strict=True
            ):
                if not voiced:
                    formant = min(formant * 2.2, 9000)
                r = np.exp(-np.pi * width / BASE_RATE)
                sound += lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * formant / BASE_RATE), r * r], source)
            start = int(at * BASE_RATE)
            end = min(start + n, len(out))
            out[start:end] += (sound * np.hanning(n) ** 0.5 * rng.uniform(0.4, 1))[: end - start].astype(np.float32)
            at += length * rng.uniform(0.8, 1.1)
            if at >= seconds:
                break
        at += rng.uniform(0.2, 1.5)
    return _normal(out[: int(seconds * BASE_RATE)])


def music_like(rng: np.random.Generator, seconds: float) -> Floats:
    """A repeated drum beat, recurring chords and a unique melody: much of it is similar at other lags."""
    out = np.zeros(int((seconds + 3) * BASE_RATE), np.float32)
    beat = 60 / rng.uniform(80, 150)
    scale = 110 * 2 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12, 14, 15, 17, 19]) / 12) * 2 ** (rng.integers(0, 12) / 12)
    chords = rng.integers(0, 5, 4)
    kick, snare = _hit(rng, 0.12, 150), _hit(rng, 0.15, 4000)
    t_note = np.arange(int(1.2 * BASE_RATE)) / BASE_RATE
    for number in range(int(seconds / beat) + 1):
        at = number * beat + rng.normal(0, 0.004)
        _add(out, kick if number % 2 == 0 else snare, at, rng.uniform(0.5, 0.7))
        if number % 4 == 0:
            for note in (0, 2, 4):
                _add(out, _tone(t_note, scale[(chords[number // 4 % 4] + note) % 12], rng), at, 0.18)
        for half in range(2):
            if rng.random() < 0.75:
                _add(out, _tone(t_note[: int(0.5 * BASE_RATE)], 2 * scale[rng.integers(0, 12)], rng), at + half * beat / 2, 0.3)
    return _normal(out[: int(seconds * BASE_RATE)])


def impulsive(rng: np.random.Generator, seconds: float) -> Floats:
    """Claps, knocks and steps at irregular times, with a faint rustle between."""
    out = rng.normal(0, 0.002, int((seconds + 1) * BASE_RATE)).astype(np.float32)
    at = rng.uniform(0, 0.5)
    while at < seconds:
        _add(out, _hit(rng, rng.uniform(0.01, 0.12), rng.uniform(600, 5000)), at, rng.uniform(0.2, 1))
        at += rng.exponential(0.5) + 0.05
    return _normal(out[: int(seconds * BASE_RATE)])


def make(kind: str, rng: np.random.Generator, seconds: float) -> Floats:
    """A sound (seconds * BASE_RATE,) of one of KINDS."""
    return {"speech": speech_like, "music": music_like, "impulsive": impulsive}[kind](rng, seconds)


def _hit(rng: np.random.Generator, decay: float, hertz: float) -> Floats:
    n = int(6 * decay * BASE_RATE)
    noise = rng.normal(0, 1, n) * np.exp(-np.arange(n) / (decay * BASE_RATE))
    low, high = max(60.0, hertz / 2), min(hertz * 2, 11000)
    return np.asarray(sosfilt(butter(2, [low, high], "band", fs=BASE_RATE, output="sos"), noise), np.float32)


def _tone(t: npt.NDArray[np.float64], hertz: float, rng: np.random.Generator) -> Floats:
    partials = sum(np.sin(2 * np.pi * hertz * k * t + rng.uniform(0, 6)) / k**1.3 for k in range(1, 9) if hertz * k < 10000)
    return np.asarray(partials * np.exp(-4 * t) * np.minimum(t / 0.01, 1), np.float32)


def _add(out: Floats, sound: Floats, at: float, gain: float) -> None:
    start = max(0, int(at * BASE_RATE))
    end = min(start + len(sound), len(out))
    if end > start:
        out[start:end] += gain * sound[: end - start]


def _normal(sound: Floats) -> Floats:
    return np.asarray(sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9) * 0.08, np.float32)


@dataclass(frozen=True)
class Take:
    """Recipe of one recording. offset: its start on the sound's own clock. decibels: signal over noise, or None."""

    offset: float
    seconds: float
    drift_ppm: float = 0.0
    decibels: float | None = None
    echo_seconds: float = 0.0
    gain: float = 1.0
    clipped: bool = False
    sample_rate: int = 48000
    codec: str = "wav"


SUFFIX = {"wav": ("wav", "pcm_s16le"), "aac": ("mp4", "aac"), "mp3": ("mp3", "libmp3lame"), "opus": ("webm", "libopus")}


def record(sound: Floats, take: Take, rng: np.random.Generator, target: Path) -> Path:
    """Write a microphone's recording of a sound: t on its clock is (1 + drift) t + offset on the sound's."""
    if take.echo_seconds:
        n = int(take.echo_seconds * BASE_RATE)
        room = rng.normal(0, 1, n) * np.exp(-6.9 * np.arange(n) / n) * 0.06
        room[: int(rng.uniform(0.002, 0.012) * BASE_RATE)] = 0
        room[0] = 1
        sound = np.asarray(fftconvolve(sound, room)[: len(sound)], np.float32)
    t = np.arange(int(take.seconds * take.sample_rate)) / take.sample_rate
    where = ((1 + take.drift_ppm * 1e-6) * t + take.offset) * BASE_RATE
    heard = map_coordinates(sound, [where], order=3, mode="constant").astype(np.float32)
    if take.decibels is not None:
        level = float(np.sqrt(np.mean(heard**2))) * 10 ** (-take.decibels / 20)
        heard = heard + level * _noise(rng, len(heard))
    heard = heard * take.gain * (12 if take.clipped else 1)
    return write_sound(target, np.clip(heard, -1, 1), take.sample_rate, take.codec)


def _noise(rng: np.random.Generator, count: int) -> Floats:
    """Noise of unit power: white, or with more low frequencies, like a street."""
    white = rng.normal(0, 1, count)
    tilted = lfilter([1], [1, -rng.choice([0.0, 0.7, 0.9])], white)
    return np.asarray(tilted / tilted.std(), np.float32)


def write_sound(target: Path, samples: Floats, sample_rate: int, codec: str = "wav") -> Path:
    """Write samples (N,) in -1 .. 1 to a file with the suffix of the codec; returns its path."""
    suffix, name = SUFFIX[codec]
    path = target.with_suffix("." + suffix)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(name, rate=sample_rate, layout="mono")
        if codec != "wav":
            stream.bit_rate = 96000
        resampler = av.AudioResampler(
            format=stream.format.name, layout="mono", rate=sample_rate, frame_size=stream.frame_size or 0
        )
        data = (samples * 32767).astype(np.int16)
        for start in range(0, len(data), 4096):
            frame = av.AudioFrame.from_ndarray(data[None, start : start + 4096], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
            for part in resampler.resample(frame):
                container.mux(stream.encode(part))
        for part in resampler.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def random_takes(rng: np.random.Generator, total: float) -> tuple[Take, Take]:
    """Recipes of two recordings of one sound of ``total`` seconds that overlap by at least 10 s, of random quality."""
    lengths = rng.uniform(15, 45, 2)
    first = float(rng.uniform(0, total - lengths[0]))
    low = max(0.0, first - lengths[1] + 10, first - 19.5)
    high = min(total - lengths[1], first + lengths[0] - 10, first + 19.5)
    one = _random_take(rng, first, float(lengths[0]), 0.0)
    return one, _random_take(
        rng, float(rng.uniform(low, max(low, high))), float(lengths[1]), float(rng.choice([0, 50, -145, 300]))
    )


def _random_take(rng: np.random.Generator, offset: float, seconds: float, drift_ppm: float) -> Take:
    codec = str(rng.choice(["wav", "aac", "mp3", "opus"]))
    return Take(
        offset=offset,
        seconds=seconds,
        drift_ppm=drift_ppm,
        decibels=[None, 20.0, 10.0, 5.0, 0.0][rng.integers(0, 5)],
        echo_seconds=float(rng.choice([0, 0.25, 0.5])),
        gain=float(rng.choice([0.1, 0.5, 1.0])),
        clipped=bool(rng.random() < 0.15),
        sample_rate=48000 if codec == "opus" else int(rng.choice([16000, 22050, 44100, 48000])),
        codec=codec,
    )
