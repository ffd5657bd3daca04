"""Start of a sensor's series on a video's clock, from three cues in the video: camera rotation, movement and loudness."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d

from framewise.core.errors import MediaError, brief
from framewise.core.progress import Progress, named, silent
from framewise.core.series_time import SeriesTimes
from framewise.labeling_config import SeriesSettings
from framewise.media.series import Series, read_series
from framewise.media.video import open_container
from framewise.sync.offsets.confidence import together, visual_confidence
from framewise.sync.offsets.correlate import MIN_SECONDS, Agreement, correlate
from framewise.sync.offsets.movement import MovementMeter, small_pictures
from framewise.sync.offsets.signals import Floats, Signal
from framewise.sync.offsets.sound import SAMPLE_RATE, decode_sound, has_sound
from framewise.sync.series.channels import correlate_channels
from framewise.sync.series.turning import TurningMeter

SAME_SECONDS = 0.1  # answers that differ by less agree
CAMERA, SCENE, SOUND = "turning", "movement", "sound"
LOUDNESS_RATE = 100
CLEAR_SURPLUS = 2.0  # standard deviations


@dataclass(frozen=True)
class Sensor:
    """A series as signals. channels: share the same seconds, counted from the first sample. times: of all samples."""

    series: Series
    times: SeriesTimes
    channels: tuple[Signal, ...]
    energy: Signal

    @property
    def seconds(self) -> float:
        return float(self.times.seconds[-1])


@dataclass(frozen=True)
class Compared:
    """Result of one method: CAMERA, SCENE or SOUND. video, sensor: the compared signals. found: or the reason for no result."""

    method: str
    video: tuple[Signal, ...]
    sensor: tuple[Signal, ...]
    found: Agreement | str

    @property
    def confidence(self) -> float:
        """Confidence, 0 .. 1. With a single signal on each side, a peak barely above chance level counts little, even without
        rivals: a few seconds of vibration and of loudness often have one burst each."""
        if not isinstance(self.found, Agreement):
            return 0.0
        weight = 1.0 if self.method == CAMERA else min(1.0, max(0.0, self.found.surplus / CLEAR_SURPLUS))
        return weight * visual_confidence(self.found)


@dataclass(frozen=True)
class Alignment:
    """Mapping of a sensor's second t to the video's second ``offset + (1 + drift) t``; an unmeasured drift (None) counts as 0.

    compared: results of all applicable methods, most confident first; the first one's answer is used.
    """

    compared: tuple[Compared, ...]
    offset: float
    drift: float | None
    confidence: float

    @property
    def best(self) -> Compared:
        return self.compared[0]

    def on_video(self, seconds: Floats) -> Floats:
        return self.offset + (1 + (self.drift or 0.0)) * seconds


def read_sensor(path: Path, settings: SeriesSettings) -> Sensor:
    """Read a series as a sensor. Raises MediaError that names the file if it is not a series, or too short."""
    try:
        series = read_series(path, settings)
    except MediaError as error:
        raise MediaError(f"{path.name}: {error}") from None
    empty = [name for name, column in zip(settings.channels, series.values.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise MediaError(f"{path.name}: no column of numbers for channel {brief(empty)}; is it the right column?")
    times = settings.times(series.native)
    seconds = times.seconds
    known = np.isfinite(series.values).all(axis=1) & np.append(True, np.diff(seconds) > 0)
    if seconds[-1] < MIN_SECONDS or known.sum() < 3:
        raise MediaError(
            f"{path.name}: expected a series of at least {MIN_SECONDS:g} s, found {int(known.sum())} samples with a number in "
            f"every channel in {seconds[-1]:.3f} s"
        )
    typical = float(np.median(np.diff(seconds[known])))
    if typical > 1.0:
        raise MediaError(
            f"{path.name}: expected several samples per second, found one per {typical:g} s; if its times are not seconds, "
            "give their format: --time-format %Q for milliseconds since 1970"
        )
    values = series.values[known].astype(np.float64)
    channels = tuple(Signal(seconds[known], column) for column in values.T)
    return Sensor(series, times, channels, Signal(seconds[known], _energy(values, 1 / max(typical, 1e-6))))


def _energy(values: Floats, rate: float) -> Floats:
    """values (N, C) -> (N,): logarithm of their distance from their mean over two seconds, each channel scaled to the same
    deviation; that mean contains gravity and a gyroscope's bias at rest."""
    width = min(max(3, round(2 * rate)) | 1, 2 * (len(values) // 2) - 1)
    # Odd reflection at both ends: otherwise drifting values would look like shaking at the start and end of the file.
    longer = np.pad(values, ((width // 2, width // 2), (0, 0)), mode="reflect", reflect_type="odd")
    rest = values - uniform_filter1d(longer, width, axis=0)[width // 2 : width // 2 + len(values)]
    size = rest.std(axis=0)
    moving = size > 1e-12
    if not moving.any():
        return np.zeros(len(values))
    length = np.linalg.norm(rest[:, moving] / size[moving], axis=1)
    length = np.sqrt(uniform_filter1d(length**2, max(1, round(rate / 30))))
    return np.asarray(np.log(length + 0.1 * float(np.median(length)) + 1e-9))


def align_series(video: Path, sensor: Sensor, search: float, progress: Progress = silent) -> Alignment:
    """Align by all applicable methods. Raises MediaError for a file with neither pictures nor sound."""
    return compare(measure(video, progress), sensor, search)


def measure(video: Path, progress: Progress = silent) -> dict[str, tuple[Signal, ...]]:
    """Method -> the signals that it compares, of a video or a sound file. Raises MediaError."""
    signals: dict[str, tuple[Signal, ...]] = {}
    with open_container(video) as container:
        pictures = any(stream.codec_context is not None for stream in container.streams.video)
    if pictures:
        turning, movement = TurningMeter(), MovementMeter()
        for picture in small_pictures(video, named(progress, "camera rotation and movement")):
            turning.add(*picture)
            movement.add(*picture)
        signals[CAMERA], signals[SCENE] = turning.turning().signals, (movement.movement().signal,)
    if has_sound(video):
        signals[SOUND] = (_loudness(video, named(progress, "loudness")),)
    if not signals:
        raise MediaError(f"{video.name}: expected pictures or sound, found neither")
    return signals


def compare(video: dict[str, tuple[Signal, ...]], sensor: Sensor, search: float) -> Alignment:
    """Compare the measured signals by each method, within +-``search`` seconds, and combine the results."""
    used = {CAMERA: sensor.channels, SCENE: (sensor.energy,), SOUND: (sensor.energy,)}
    return conclude([_compare(method, signals, used[method], search) for method, signals in video.items()])


def _compare(method: str, video: tuple[Signal, ...], sensor: Sequence[Signal], search: float) -> Compared:
    end = float(video[0].seconds[-1]) + search if len(video[0].seconds) else 0.0
    near = tuple(_until(signal, end) for signal in sensor)
    if method == CAMERA:
        return Compared(method, video, near, correlate_channels(video, near, search))
    return Compared(method, video, near, correlate(video[0], near[0], search))


def _until(signal: Signal, end: float) -> Signal:
    """Signal without samples too late to matter: a sensor may have been on all day."""
    kept = int(np.searchsorted(signal.seconds, end, side="right"))
    return Signal(signal.seconds[:kept], signal.values[:kept], signal.gap_seconds)


def conclude(compared: Sequence[Compared]) -> Alignment:
    """Most confident answer. Others that agree raise its confidence, others that do not lower it, according to theirs."""
    ordered = tuple(sorted(compared, key=lambda c: -c.confidence))
    best = ordered[0].found
    if not isinstance(best, Agreement):
        return Alignment(ordered, 0.0, None, 0.0)
    confidence = ordered[0].confidence
    for other in ordered[1:]:
        if isinstance(other.found, Agreement):
            agree = abs(other.found.offset - best.offset) <= SAME_SECONDS
            confidence = together(confidence, other.confidence, agree)
    return Alignment(ordered, best.offset, best.drift, confidence)


def _loudness(video: Path, progress: Callable[[float], None]) -> Signal:
    """Logarithm of a sound's level, LOUDNESS_RATE times per second."""
    with tempfile.TemporaryDirectory(prefix="framewise-align-") as folder:
        samples = decode_sound(video, Path(folder) / "sound", progress)
        hop = SAMPLE_RATE // LOUDNESS_RATE
        count = len(samples) // hop
        level = np.zeros(count)
        for first in range(0, count, 6000):  # a minute at once
            part = np.asarray(samples[first * hop : min(first + 6000, count) * hop], np.float64).reshape(-1, hop)
            level[first : first + len(part)] = np.sqrt(np.diff(part, axis=1).var(axis=1))
        del samples
    floor = max(float(np.percentile(level, 20)), 1.0) if count else 1.0
    smooth = median_filter(level, 3, mode="nearest")
    return Signal((np.arange(count) + 0.5) / LOUDNESS_RATE, np.log(smooth + 0.5 * floor))
