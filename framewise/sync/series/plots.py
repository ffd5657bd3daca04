"""Figure of a sensor and a video before and after alignment, and of the fit at every lag. A PNG file."""

from pathlib import Path

import numpy as np

from framewise.core.errors import SettingsError
from framewise.sync.drawing import new_figure, plain, save
from framewise.sync.offsets.correlate import Agreement
from framewise.sync.offsets.signals import STILL, Floats, Signal, flatten, on_grid
from framewise.sync.series.aligning import Alignment, Compared

DRAWN_RATE = 30.0


def draw(alignment: Alignment, names: tuple[str, str], answered: bool, path: Path) -> None:
    """Draw an alignment to a file. names: of the video and the sensor. Raises SettingsError if the file cannot be written."""
    figure = new_figure(13, 6.5)
    axes = figure.subplot_mosaic([["before", "after"], ["curve", "curve"]], height_ratios=[2, 1])
    best = alignment.best
    seconds, sensor, video, of_video = _shown(alignment)
    for axis, moved, title in (
        (axes["before"], seconds, "before: each on its own clock"),
        (axes["after"], alignment.on_video(seconds), "after: on the video's clock"),
    ):
        axis.plot(video.seconds, _unit(video.values), linewidth=0.9, color="tab:orange", label=plain(names[0]))
        axis.plot(moved, _unit(sensor), linewidth=0.7, color="tab:blue", alpha=0.8, label=plain(names[1]))
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("seconds")
        axis.set_ylim(-5, 6)
        axis.set_yticks([])
    axes["before"].legend(fontsize=8, loc="upper right")
    axes["after"].set_xlim(axes["before"].get_xlim())
    if not answered:
        axes["after"].text(0.5, 0.92, "not answered", ha="center", transform=axes["after"].transAxes, color="tab:red")
    for compared in alignment.compared:
        if isinstance(compared.found, Agreement):
            curve = compared.found.curve / max(float(np.abs(compared.found.curve).max(initial=0.0)), 1e-9)
            axes["curve"].plot(compared.found.lags, curve, linewidth=0.8, label=f"{compared.method} {compared.confidence:.2f}")
    axes["curve"].axvline(alignment.offset, color="0.6", linewidth=0.8)
    axes["curve"].set_title("fit at each lag, and confidence of each method", fontsize=9)
    axes["curve"].set_xlabel("seconds by which the sensor started later")
    if axes["curve"].get_legend_handles_labels()[0]:
        axes["curve"].legend(fontsize=8, loc="upper right")
    figure.suptitle(f"{best.method}: {of_video}; confidence {alignment.confidence:.2f}", fontsize=10)
    try:
        save(figure, path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"--picture: {path} cannot be written ({error})") from None


def _shown(alignment: Alignment) -> tuple[Floats, Floats, Signal, str]:
    """(sensor's seconds, its values, the video's signal, its description); of several signals, the one that fits best."""
    best: Compared = alignment.best
    video, sensor = [_even(signal) for signal in best.video], [_even(signal) for signal in best.sensor]
    seconds, channels = sensor[0].seconds, np.stack([signal.values for signal in sensor], axis=1)
    if len(video) == 1 or not isinstance(best.found, Agreement):
        return seconds, channels[:, 0], video[0], "video and sensor"
    moved, fits = alignment.on_video(seconds), []
    for what, signal in zip(("sideways", "up and down", "about the centre"), video, strict=True):
        inside = (signal.seconds >= moved[0]) & (signal.seconds <= moved[-1])
        known = np.stack([np.interp(signal.seconds[inside], moved, column) for column in channels.T], axis=1)
        values = signal.values[inside]
        mixture = np.linalg.lstsq(known, values, rcond=None)[0]
        left = float(((values - known @ mixture) ** 2).sum() / max(float((values**2).sum()), 1e-12))
        fits.append((left, what, signal, channels @ mixture))
    _, what, signal, values = min(fits, key=lambda fit: fit[0])
    return seconds, values, signal, f"the picture's movement {what}, and the mixture of channels closest to it"


def _even(signal: Signal) -> Signal:
    """Signal as it is compared: high-passed, with a flat spectrum."""
    if len(signal.seconds) < 3 or float(np.ptp(signal.values)) <= STILL:
        return Signal(signal.seconds, signal.values - signal.values[:1].sum())
    rate = min(signal.rate, DRAWN_RATE)
    values, have, start = on_grid(signal, rate)
    return Signal(start + np.arange(len(values)) / rate, flatten(values, have, rate))


def _unit(values: Floats) -> Floats:
    return np.asarray(values / max(float(values.std()), 1e-12))
