"""Rendered scenes filmed by several cameras from different places, with known truth, for ``sync_benchmark.py``."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, gaussian_filter1d

Floats = npt.NDArray[np.float64]

WORLD_RATE = 240  # instants per second at which the scene is computed; it is interpolated between them
WIDTH, HEIGHT = 192, 144


@dataclass(frozen=True)
class Scene:
    """Moving figures: places (A, N, 2) in about -1 .. 1 and sizes (A, N) of A figures at N instants of WORLD_RATE."""

    places: Floats
    sizes: Floats
    shades: Floats

    def at(self, seconds: float) -> tuple[Floats, Floats]:
        where = min(max(seconds * WORLD_RATE, 0), self.places.shape[1] - 1.001)
        low, rest = int(where), where - int(where)
        places = (1 - rest) * self.places[:, low] + rest * self.places[:, low + 1]
        return places, (1 - rest) * self.sizes[:, low] + rest * self.sizes[:, low + 1]


def make_scene(rng: np.random.Generator, seconds: float) -> Scene:
    """Two to five figures that walk, stop, turn and gesture: bursts of movement at irregular times."""
    figures, count = int(rng.integers(2, 6)), int(seconds * WORLD_RATE)
    places, sizes = np.empty((figures, count, 2)), np.empty((figures, count))
    t = np.arange(count) / WORLD_RATE
    for figure in range(figures):
        going = _bursts(rng, count, 1.2)
        heading = gaussian_filter1d(rng.normal(0, 1, count), WORLD_RATE) * 40 + rng.uniform(0, 6.3)
        step = going * rng.uniform(0.2, 0.5) / WORLD_RATE
        path = rng.uniform(-0.6, 0.6, 2) + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * step[:, None], 0)
        places[figure] = np.abs((path + 1) % 4 - 2) - 1  # reflected at the walls
        gesture = _bursts(rng, count, 0.6) * np.sin(2 * np.pi * rng.uniform(1, 3) * t + rng.uniform(0, 6))
        sizes[figure] = rng.uniform(0.12, 0.25) * (1 + 0.3 * gesture)
    return Scene(places, sizes, rng.uniform(40, 220, figures))


def _bursts(rng: np.random.Generator, count: int, mean_seconds: float) -> Floats:
    """Signal of 0 .. 1 that is on and off for random times, with soft edges."""
    out, at, on = np.zeros(count), 0, bool(rng.random() < 0.5)
    while at < count:
        length = int((rng.exponential(mean_seconds) + 0.15) * WORLD_RATE)
        out[at : at + length] = rng.uniform(0.4, 1) if on else 0
        at, on = at + length, not on
    return np.asarray(gaussian_filter1d(out, 0.06 * WORLD_RATE))


@dataclass(frozen=True)
class Camera:
    """offset: start on the scene's clock. turn, flip, zoom, shift: position. noise: grey levels. gain: brightness."""

    offset: float
    seconds: float
    frame_rate: Fraction
    turn: float
    flip: bool
    zoom: float
    shift: tuple[float, float]
    squeeze: float
    noise: float
    gain: float
    crf: int


def random_camera(rng: np.random.Generator, offset: float, seconds: float) -> Camera:
    return Camera(
        offset=offset,
        seconds=seconds,
        frame_rate=Fraction(str(rng.choice(["30", "30000/1001", "25", "60"]))),
        turn=float(rng.uniform(-np.pi, np.pi)) if rng.random() < 0.3 else float(rng.normal(0, 0.15)),
        flip=bool(rng.random() < 0.3),
        zoom=float(rng.uniform(0.7, 1.1)),
        shift=(float(rng.normal(0, 0.15)), float(rng.normal(0, 0.15))),
        squeeze=float(rng.uniform(0.6, 1.0)),
        noise=float(rng.choice([0.0, 2.0, 5.0])),
        gain=float(rng.uniform(0.6, 1.3)),
        crf=int(rng.choice([18, 26, 32])),
    )


def film(scene: Scene, camera: Camera, rng: np.random.Generator, path: Path) -> Path:
    """Write a camera's video as H.264."""
    background = gaussian_filter(rng.normal(0, 1, (HEIGHT, WIDTH)), 4) * 200 + 110
    grid_y, grid_x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    turn = np.array([[np.cos(camera.turn), -np.sin(camera.turn)], [np.sin(camera.turn), np.cos(camera.turn)]])
    view = turn * np.array([[-1 if camera.flip else 1], [1]]) * np.array([[1.0], [camera.squeeze]]) * camera.zoom
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=camera.frame_rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(camera.crf), "preset": "ultrafast"}
        for number in range(int(camera.seconds * camera.frame_rate)):
            places, sizes = scene.at(camera.offset + float(number / camera.frame_rate))
            image = background.copy()
            for place, size, shade in zip(places @ view.T + camera.shift, sizes, scene.shades, strict=True):
                x, y = (place[0] + 1) * WIDTH / 2, (place[1] + 1) * HEIGHT / 2
                radius = size * camera.zoom * HEIGHT / 2
                left, right = int(max(0, x - radius - 2)), int(min(WIDTH, x + radius + 3))
                top, bottom = int(max(0, y - 1.6 * radius - 2)), int(min(HEIGHT, y + 1.6 * radius + 3))
                if left >= right or top >= bottom:
                    continue
                part = np.hypot(grid_x[top:bottom, left:right] - x, (grid_y[top:bottom, left:right] - y) / 1.6)
                cover = np.clip(radius - part + 0.5, 0, 1)
                image[top:bottom, left:right] += cover * (shade - image[top:bottom, left:right])
            image = image * camera.gain
            if camera.noise:
                image = image + rng.normal(0, camera.noise, image.shape)
            grey = np.clip(image, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[:, :, None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
