"""Figures of an estimate: pictures of the same instants, sound and movement before and after, correlations. PNG files."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, find_objects, label, maximum_filter1d

from framewise.core.errors import SettingsError
from framewise.media.orientation import AS_IT_LIES
from framewise.media.video import decode, probe
from framewise.sync.drawing import new_figure, plain, save
from framewise.sync.manifest import Manifest, Recording
from framewise.sync.offsets.correlate import Agreement, correlate
from framewise.sync.offsets.material import Material
from framewise.sync.offsets.movement import small_grey
from framewise.sync.offsets.phat import envelope_correlation
from framewise.sync.offsets.sound import SAMPLE_RATE, Sound

INSTANTS = 4
MAX_DRAWN = 8  # recordings in one figure: more would be too small to see anything
COLUMNS = 1200  # points of a curve: the width of a figure
_MOVES = 14.0  # change in grey levels that counts as movement


def draw_all(materials: Sequence[Material], made: Manifest, folder: Path) -> list[Path]:
    """Write all applicable figures to a folder. Raises SettingsError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return list(_draw(materials, made, folder))
    except OSError as error:
        raise SettingsError(f"pictures: {folder} cannot be written ({error.strerror})") from None


def _draw(materials: Sequence[Material], made: Manifest, folder: Path) -> Iterator[Path]:
    shown = [(m, r) for m, r in zip(materials, made.recordings, strict=True) if r.answered][:MAX_DRAWN]
    if sum(m.movement is not None for m, _ in shown) > 1:
        yield _indicators([(m, r) for m, r in shown if m.movement is not None], folder / "sync_indicators.png")
    every = list(zip(materials, made.recordings, strict=True))[:MAX_DRAWN]
    if len(heard := [(m, r) for m, r in every if m.sound is not None]) > 1:
        yield _waveforms(heard, folder / "audio_waveforms.png")
    if len(seen := [(m, r) for m, r in every if m.movement is not None]) > 1:
        yield _motion(seen, folder / "motion_energy.png")
    yield _matrix(made, folder / "correlation_matrix.png")
    yield _curves(every, made, folder / "correlations.png")


def _on_reference(recording: Recording, seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Map times of a recording's clock to the reference's; unchanged if it has no answer."""
    t = np.asarray(seconds, dtype=np.float64)
    return (1 + (recording.drift_ppm or 0.0) * 1e-6) * t + (recording.offset or 0.0)


def _own(recording: Recording, on_reference: float) -> float:
    return (on_reference - (recording.offset or 0.0)) / (1 + (recording.drift_ppm or 0.0) * 1e-6)


# Sync indicators.


def _indicators(shown: Sequence[tuple[Material, Recording]], path: Path) -> Path:
    """Plot the same instants from all cameras, one row each, with boxes around movement: hands and objects must match."""
    instants = _lively_instants(shown)
    figure = new_figure(3.1 * len(instants) + 0.4, 2.35 * len(shown) + 0.6)
    axes = figure.subplots(len(shown), len(instants), squeeze=False)
    for row, (material, recording) in zip(axes, shown, strict=True):
        wanted = [_own(recording, instant) for instant in instants]
        pictures = _pictures_at(material.path, wanted)
        for axis, instant, own, picture in zip(row, instants, wanted, pictures, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            if picture is None:
                axis.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axis.transAxes, color="0.4")
                continue
            at, image, boxes = picture
            axis.imshow(image)
            for left, top, right, bottom in boxes:
                axis.add_patch(_box(left, top, right, bottom))
            axis.set_title(f"{instant:.3f} s  (own clock {at:.3f} s, {1000 * (at - own):+.0f} ms)", fontsize=7)
        row[0].set_ylabel(plain(material.name, 24), fontsize=8)
    figure.suptitle("The same instants on the reference's clock, with boxes around movement", fontsize=10)
    return save(figure, path)


def _lively_instants(shown: Sequence[tuple[Material, Recording]]) -> list[float]:
    """Instants on the reference's clock with much movement, in as many recordings as possible, spread over their overlap."""
    starts = [float(_on_reference(r, 0.0)) for _, r in shown]
    ends = [float(_on_reference(r, m.duration)) for m, r in shown]
    begin, end = max(starts), min(ends)
    if end - begin < 0.5:
        begin, end = min(starts), max(ends)
    grid = np.linspace(begin, end, 400)[10:-10]
    total = np.zeros(len(grid))
    for material, recording in shown:
        assert material.movement is not None
        signal = material.movement.signal
        values = np.interp(grid, _on_reference(recording, signal.seconds), signal.values)
        total += (values - values.mean()) / (values.std() + 1e-9)
    return [float(part[np.argmax(total[np.isin(grid, part)])]) for part in np.array_split(grid, INSTANTS)]


def _pictures_at(path: Path, wanted: Sequence[float]) -> list[tuple[float, Any, list[tuple[float, ...]]] | None]:
    """Picture shown at each time: (its time, RGB, boxes around movement since the one before); None outside the recording."""
    info = probe(path)
    found: list[tuple[float, Any, list[tuple[float, ...]]] | None] = [None] * len(wanted)
    order = sorted((w, i) for i, w in enumerate(wanted) if w >= 0)
    before: Any = None
    held: Any = None
    for picture in decode(path):
        at = float(picture.pts * info.time_base)
        while order and held is not None and at > order[0][0] + 1e-6:
            found[order.pop(0)[1]] = _shown(*held)
        if not order:
            break
        grey = small_grey(picture.frame)
        held = (float(picture.pts * info.time_base), picture, grey, before)
        before = grey
    for want, place in order:
        if held is not None and want <= held[0] + 1.0:
            found[place] = _shown(*held)
    return found


def _shown(at: float, picture: Any, grey: Any, before: Any) -> tuple[float, Any, list[tuple[float, ...]]]:
    scale = min(1.0, 480 / max(picture.frame.width, picture.frame.height))
    small = picture.frame.reformat(
        width=max(2, int(picture.frame.width * scale)), height=max(2, int(picture.frame.height * scale))
    )
    image = picture.upright(small.to_ndarray(format="rgb24"))
    boxes = _boxes(before, grey) if before is not None and before.shape == grey.shape else []
    if picture.orientation != AS_IT_LIES:
        return at, image, []
    ratio = small.width / grey.shape[1]
    return at, image, [tuple(ratio * value for value in box) for box in boxes]


def _boxes(before: npt.NDArray[np.float32], now: npt.NDArray[np.float32]) -> list[Any]:
    """(left, top, right, bottom) of up to six parts that changed, the largest first."""
    change = np.abs(now - before - np.median(now - before))
    moving = binary_dilation(change > min(_MOVES, max(4.0, float(change.max()) / 3)), iterations=5)
    parts = [p for p in find_objects(label(moving)[0]) if p[0].stop - p[0].start > 11]  # smaller parts are single dots of noise
    boxes = [(p[1].start, p[0].start, p[1].stop, p[0].stop) for p in parts]
    while touching := next(((a, b) for a, b in combinations(boxes, 2) if _touch(a, b)), None):
        one, two = touching
        boxes = [box for box in boxes if box not in touching]
        boxes.append((min(one[0], two[0]), min(one[1], two[1]), max(one[2], two[2]), max(one[3], two[3])))
    return sorted(boxes, key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))[:6]


def _touch(one: tuple[float, ...], two: tuple[float, ...]) -> bool:
    return one[0] <= two[2] and two[0] <= one[2] and one[1] <= two[3] and two[1] <= one[3]


def _box(left: float, top: float, right: float, bottom: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="lime", linewidth=1.4)


# Curves, before and after.


def _waveforms(heard: Sequence[tuple[Material, Recording]], path: Path) -> Path:
    """Plot every sound on its own clock (left) and on the reference's (right)."""
    figure = new_figure(13, 1.15 * len(heard) + 1)
    axes = figure.subplots(len(heard), 2, squeeze=False, sharex="col")
    for row, (material, recording) in zip(axes, heard, strict=True):
        assert material.sound is not None
        seconds, low, high = _outline(material.sound)
        for axis, times in ((row[0], seconds), (row[1], _on_reference(recording, seconds))):
            axis.fill_between(times, low, high, linewidth=0.3, color="tab:blue" if recording.answered else "0.6")
            axis.set_yticks([])
        row[0].set_ylabel(plain(material.name, 18), fontsize=8)
        if not recording.answered:
            row[1].text(0.5, 0.85, "not answered", ha="center", transform=row[1].transAxes, fontsize=8, color="tab:red")
    return _before_and_after(figure, axes, "Sound", path)


def _motion(seen: Sequence[tuple[Material, Recording]], path: Path) -> Path:
    """Plot the movement in every recording on its own clock and on the reference's."""
    figure = new_figure(13, 1.15 * len(seen) + 1)
    axes = figure.subplots(len(seen), 2, squeeze=False, sharex="col")
    for row, (material, recording) in zip(axes, seen, strict=True):
        assert material.movement is not None
        signal = material.movement.signal
        for axis, times in ((row[0], signal.seconds), (row[1], _on_reference(recording, signal.seconds))):
            axis.plot(times, signal.values, linewidth=0.7, color="tab:orange" if recording.answered else "0.6")
            axis.set_yticks([])
        row[0].set_ylabel(plain(material.name, 18), fontsize=8)
        if not recording.answered:
            row[1].text(0.5, 0.85, "not answered", ha="center", transform=row[1].transAxes, fontsize=8, color="tab:red")
    return _before_and_after(figure, axes, "Movement (logarithm)", path)


def _before_and_after(figure: Any, axes: Any, what: str, path: Path) -> Path:
    axes[0, 0].set_title(f"{what} before: each on its own clock", fontsize=9)
    axes[0, 1].set_title("after: on the reference's clock", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    for axis in axes.flat:
        axis.grid(axis="x", color="0.85")
        axis.set_axisbelow(True)
    return save(figure, path)


def _outline(sound: Sound) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(seconds, lowest, highest sample) of COLUMNS sections of a sound."""
    edges = np.linspace(0, len(sound.samples), min(COLUMNS, len(sound.samples)) + 1).astype(int)[:-1]
    low = np.minimum.reduceat(sound.samples, edges).astype(np.float64)
    high = np.maximum.reduceat(sound.samples, edges).astype(np.float64)
    return edges / SAMPLE_RATE, low, high


# Correlations.


def _matrix(made: Manifest, path: Path) -> Path:
    """Plot offset and confidence of every two recordings, by the more confident method if there are two."""
    names = [r.name for r in made.recordings][:MAX_DRAWN]
    sure, texts = np.eye(len(names)), [["" for _ in names] for _ in names]
    for pair in sorted(made.pairs, key=lambda p: p.confidence):
        if pair.a in names and pair.b in names:
            a, b = names.index(pair.a), names.index(pair.b)
            for row, column, sign in ((a, b, 1), (b, a, -1)):
                sure[row, column] = pair.confidence
                offset = f"{sign * pair.offset:+.3f} s" if pair.offset is not None else "no answer"
                texts[row][column] = f"{pair.confidence:.2f}\n{offset}"
    figure = new_figure(1.5 * len(names) + 2.6, 1.1 * len(names) + 1.7)
    axis = figure.subplots()
    image = axis.imshow(sure, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
    for row, column in ((r, c) for r in range(len(names)) for c in range(len(names)) if r != c):
        colour = "black" if 0.15 < sure[row, column] < 0.85 else "white"
        axis.text(column, row, texts[row][column], ha="center", va="center", fontsize=8, color=colour)
    ticks = [plain(name, 18) for name in names]
    axis.set_xticks(range(len(names)), ticks, rotation=20, ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), ticks, fontsize=8)
    figure.colorbar(image, ax=axis, label="confidence")
    axis.set_title("Start of the column's recording minus the row's", fontsize=9)
    return save(figure, path)


def _curves(every: Sequence[tuple[Material, Recording]], made: Manifest, path: Path) -> Path:
    """Plot each recording's correlation with the reference at every lag: one narrow peak is clear, several are ambiguous."""
    reference, others = every[0][0], every[1:]
    figure = new_figure(13, 1.5 * max(1, len(others)) + 0.8)
    axes = figure.subplots(max(1, len(others)), 2, squeeze=False)
    for row, (material, recording) in zip(axes, others, strict=True):
        for axis, what, colour, curve in (
            (row[0], "sound, by loudness", "tab:blue", _sound_curve(reference, material, made.max_offset)),
            (row[1], "movement", "tab:orange", _motion_curve(reference, material, made.max_offset)),
        ):
            axis.set_yticks([])
            if curve is None:
                axis.text(0.5, 0.5, "not compared", ha="center", va="center", transform=axis.transAxes, color="0.5")
                continue
            axis.plot(*curve, linewidth=0.7, color=colour)
            axis.set_title(f"{plain(material.name, 24)}: {what}", fontsize=8)
            if recording.offset is not None:
                axis.axvline(recording.offset, color="tab:red", linewidth=0.8, linestyle="--")
    for axis in axes[-1]:
        axis.set_xlabel("offset in seconds (dashed: the answer)")
    return save(figure, path)


def _sound_curve(one: Material, two: Material, reach: float) -> tuple[Any, Any] | None:
    if one.sound is None or two.sound is None:
        return None
    lags, values = envelope_correlation(one.sound, two.sound)
    inside = np.abs(lags) <= reach
    return _thinned(lags[inside], values[inside])


def _motion_curve(one: Material, two: Material, reach: float) -> tuple[Any, Any] | None:
    if one.movement is None or two.movement is None:
        return None
    found = correlate(one.movement.signal, two.movement.signal, reach)
    return _thinned(found.lags, found.curve) if isinstance(found, Agreement) else None


def _thinned(lags: Any, values: Any) -> tuple[Any, Any]:
    """Reduce a curve to a few thousand points, keeping its peaks."""
    step = max(1, len(lags) // (3 * COLUMNS))
    return lags[::step], maximum_filter1d(values, step)[::step] if step > 1 else values
