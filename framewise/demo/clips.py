"""Clips with known truth: a rendered football scene for the demo.

Positions inside a scene are fractions of the picture's side, x to the right and y down. The scene is drawn from exact
distances, and the truth is computed from the same numbers. Clips are square, because the usual preprocessing of a
classification backbone keeps only the central square.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAME_RATE = 25
SIDE = 320  # pixels
BALL_IN_FRAME = "Ball in frame"
BALL_TOUCH = "Ball touch"

MIN_FRAMES, MAX_FRAMES = 150, 250
MIN_TOUCH_FRAMES, MAX_TOUCH_FRAMES = 8, 20
TOUCHES_CYCLE = (1, 0, 2, 1, 3)  # touches of successive clips of `render_clips`
BOOT_RADIUS, BOOT_LENGTH, LEG_RADIUS = 0.05, 0.13, 0.045
OVERLAP = 0.3  # share of the ball's radius that a touching boot covers
FAR_GAP = 1.0  # between boot and ball where a swing begins and ends: outside the picture
WHITE, BLACK = (255.0, 255.0, 255.0), (15.0, 15.0, 15.0)
SKIN, LINE = (205.0, 150.0, 115.0), (180.0, 205.0, 175.0)
BOOT_COLOURS = ((255.0, 40.0, 30.0), (255.0, 30.0, 120.0), (255.0, 90.0, 10.0))
SOCK_COLOURS = ((30.0, 40.0, 160.0), (25.0, 25.0, 35.0), (120.0, 20.0, 110.0))


@dataclass(frozen=True)
class ClipTruth:
    """Truth about a rendered clip.

    intervals: by label, runs of Label Studio frames (1-based, both ends included), in order.
    """

    path: Path
    frame_rate: int
    num_frames: int
    intervals: dict[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class Foot:
    """A leg that swings to the ball and touches it in the pictures [start, stop).

    side: 1 if the leg is to the right of the ball, -1 to the left. lift: angle (radians) above the ball's middle at
    which the toe meets it. approach, retreat: lengths of the swing in pictures.
    """

    start: int
    stop: int
    side: int
    lift: float
    approach: int
    retreat: int

    def gap(self, index: int, ball_radius: float) -> float | None:
        """Distance between toe and ball in picture `index`, negative if they overlap; None while out of sight."""
        touching = -OVERLAP * ball_radius
        if self.start <= index < self.stop:
            return touching
        if self.start - self.approach <= index < self.start:
            return touching + (FAR_GAP - touching) * ((self.start - index) / self.approach) ** 1.5
        if self.stop <= index < self.stop + self.retreat:
            return touching + (FAR_GAP - touching) * ((index - self.stop + 1) / self.retreat) ** 1.5
        return None

    def boot(self, index: int, ball: np.ndarray, ball_radius: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Toe and heel (x, y) of the boot in picture `index`: the end centres of a capsule of BOOT_RADIUS."""
        gap = self.gap(index, ball_radius)
        if gap is None:
            return None
        outward = np.array([self.side * math.cos(self.lift), -math.sin(self.lift)])
        toe = ball + outward * (ball_radius + BOOT_RADIUS + gap)
        return toe, toe + np.array([self.side * BOOT_LENGTH, -0.25 * BOOT_LENGTH])


@dataclass(frozen=True)
class Scene:
    """One clip before drawing.

    ball:   (T, 2) float64, the ball's centre in each picture; far outside [0, 1) while it is away.
    height: (T,) float64, height of the ball above its shadow.
    feet:   with `start` and `stop` counted from the first picture; they may lie partly outside the clip.
    """

    ball: np.ndarray
    height: np.ndarray
    ball_radius: float
    feet: tuple[Foot, ...]

    def ball_in_frame(self) -> np.ndarray:
        """(T,) bool: the ball's centre is inside the picture."""
        return np.all((self.ball >= 0) & (self.ball < 1), axis=1)

    def ball_touched(self) -> np.ndarray:
        """(T,) bool: a boot and the ball overlap."""
        touched = np.zeros(len(self.ball), dtype=bool)
        for index, ball in enumerate(self.ball):
            boots = (foot.boot(index, ball, self.ball_radius) for foot in self.feet)
            touched[index] = any(
                boot is not None and _distance_to_segment(ball, *boot) <= self.ball_radius + BOOT_RADIUS for boot in boots
            )
        return touched

    def intervals(self) -> dict[str, list[tuple[int, int]]]:
        """By label, runs of Label Studio frames (1-based, both ends included)."""
        return {BALL_IN_FRAME: _runs(self.ball_in_frame()), BALL_TOUCH: _runs(self.ball_touched())}


def render_clip(path: str | Path, seed: int, num_touches: int | None = None) -> ClipTruth:
    """Render one football clip to an .mp4 (H.264, 25 fps, 320x320, 6 to 10 s); the same seed gives the same clip.

    num_touches: 0 to 3; drawn at random if None. Raises ValueError, OSError.
    """
    rng = np.random.default_rng(seed)
    if num_touches is None:
        num_touches = int(rng.choice(TOUCHES_CYCLE))
    scene = make_scene(rng, num_touches)
    _write_video(Path(path), _draw_scene(scene, rng))
    return ClipTruth(Path(path), FRAME_RATE, len(scene.ball), scene.intervals())


def render_clips(
    folder: str | Path, count: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> list[ClipTruth]:
    """Render `count` clips `clip-000.mp4`, .. into a folder (created if missing), with 0 to 3 touches in turn.

    progress: called with (done, count) after each clip.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    truths = []
    for index in range(count):
        clip_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        num_touches = TOUCHES_CYCLE[index % len(TOUCHES_CYCLE)]
        truths.append(render_clip(folder / f"clip-{index:03d}.mp4", clip_seed, num_touches))
        if progress:
            progress(index + 1, count)
    return truths


def make_scene(rng: np.random.Generator, num_touches: int) -> Scene:
    """Make a random scene of MIN_FRAMES to MAX_FRAMES pictures with this number of complete touches.

    A window is cut from a longer play at a random place, so that the position in a clip is not informative.
    Raises ValueError if num_touches is not 0 to 3.
    """
    if not 0 <= num_touches <= 3:
        raise ValueError(f"num_touches must be 0 to 3, got {num_touches}")
    while True:
        num_frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
        play = _make_play(rng, num_frames + 120, touch_probability=0.9 if num_touches else 0.0)
        scene = _cut(play, int(rng.integers(0, len(play.ball) - num_frames)), num_frames)
        touches = scene.intervals()[BALL_TOUCH]
        whole = all(MIN_TOUCH_FRAMES <= end - start + 1 <= MAX_TOUCH_FRAMES for start, end in touches)
        if len(touches) == num_touches and whole and 0.25 <= scene.ball_in_frame().mean() <= 0.8:
            return scene


def _make_play(rng: np.random.Generator, min_frames: int, touch_probability: float) -> Scene:
    """Make a play in which the ball repeatedly enters, may be touched, leaves, and stays away for a while."""
    ball_radius = float(rng.uniform(0.065, 0.085))
    points: list[np.ndarray] = []
    height: list[float] = []
    feet: list[Foot] = []
    away = np.array([-9.0, -9.0])
    while len(points) < min_frames:
        for _ in range(int(rng.integers(15, 60))):
            points.append(away)
            height.append(0.0)
        speed = float(rng.uniform(0.013, 0.03))
        num_touches = 0 if rng.random() >= touch_probability else int(rng.integers(1, 3))
        position = _point_outside(rng, ball_radius)
        stops = _stops(rng, num_touches or 1)
        bounce = float(rng.uniform(0.05, 0.2)) if rng.random() < 0.3 else 0.0
        for target in stops:
            _roll(points, height, position, target, speed, bounce if num_touches == 0 else 0.0)
            position = target
            if num_touches:
                hold = int(rng.integers(MIN_TOUCH_FRAMES + 1, MAX_TOUCH_FRAMES - 2))
                feet.append(_make_foot(rng, len(points), hold))
                dribbled = np.clip(position + rng.uniform(-0.08, 0.08, size=2), 0.2, 0.8)
                for step in range(hold):
                    points.append(position + (dribbled - position) * step / hold)
                    height.append(0.0)
                position = dribbled
                speed = float(rng.uniform(0.015, 0.03))
        _roll(points, height, position, _point_outside(rng, ball_radius), speed, 0.0)
    return Scene(np.array(points), np.array(height), ball_radius, tuple(feet))


def _make_foot(rng: np.random.Generator, start: int, hold: int) -> Foot:
    approach, retreat = (int(length) for length in rng.integers(5, 9, size=2))
    side = 1 if rng.random() < 0.5 else -1
    return Foot(start, start + hold, side, float(rng.uniform(0.0, 0.6)), approach, retreat)


def _stops(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Random positions well inside the picture, each far from the one before."""
    stops = [rng.uniform(0.3, 0.7, size=2)]
    while len(stops) < count:
        candidate = rng.uniform(0.25, 0.75, size=2)
        if np.linalg.norm(candidate - stops[-1]) > 0.3:
            stops.append(candidate)
    return stops


def _point_outside(rng: np.random.Generator, ball_radius: float) -> np.ndarray:
    """Random point outside an edge, where the ball is out of sight."""
    along, beyond = float(rng.uniform(0.1, 0.9)), 0.02 + 1.5 * ball_radius
    edges = [(-beyond, along), (1 + beyond, along), (along, -beyond), (along, 1 + beyond)]
    return np.array(edges[int(rng.integers(4))])


def _roll(
    points: list[np.ndarray], height: list[float], start: np.ndarray, stop: np.ndarray, speed: float, bounce: float
) -> None:
    """Append the path from start to stop (excluded), at `speed` per picture. bounce: height of the hops."""
    num_steps = max(2, math.ceil(float(np.linalg.norm(stop - start)) / speed))
    for step in range(num_steps):
        hop = bounce * abs(math.sin(2 * math.pi * step / num_steps))
        points.append(start + (stop - start) * step / num_steps - np.array([0.0, hop]))
        height.append(hop)


def _cut(play: Scene, start: int, num_frames: int) -> Scene:
    """Cut the pictures [start, start + num_frames) out of a play, with the feet visible in them."""
    feet = tuple(
        Foot(foot.start - start, foot.stop - start, foot.side, foot.lift, foot.approach, foot.retreat)
        for foot in play.feet
        if foot.stop + foot.retreat > start and foot.start - foot.approach < start + num_frames
    )
    window = slice(start, start + num_frames)
    return Scene(play.ball[window], play.height[window], play.ball_radius, feet)


def _draw_scene(scene: Scene, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the pictures, (SIDE, SIDE, 3) uint8 RGB."""
    pitch = _draw_pitch(rng)
    boot_colour = BOOT_COLOURS[int(rng.integers(len(BOOT_COLOURS)))]
    sock_colour = SOCK_COLOURS[int(rng.integers(len(SOCK_COLOURS)))]
    drift, phase = float(rng.uniform(0.02, 0.08)), float(rng.uniform(0, 2 * math.pi))
    moved = np.r_[0.0, np.linalg.norm(np.diff(scene.ball, axis=0), axis=1)]
    roll = np.cumsum(np.where(moved < 0.1, moved, 0.0)) / scene.ball_radius
    for index, ball in enumerate(scene.ball):
        image = pitch.copy()
        _draw_ball(image, ball, scene.ball_radius, float(scene.height[index]), float(roll[index]))
        for foot in scene.feet:
            boot = foot.boot(index, ball, scene.ball_radius)
            if boot is not None:
                _draw_leg(image, boot, foot.side, boot_colour, sock_colour)
        brightness = 1 - drift * (1 + math.sin(phase + 2 * math.pi * index / 160))
        yield np.clip(image * brightness, 0, 255).astype(np.uint8)


def _draw_pitch(rng: np.random.Generator) -> np.ndarray:
    """Mown grass with one or two white lines and sometimes an arc, (SIDE, SIDE, 3) float32 in 0 .. 255."""
    green = np.array([rng.uniform(35, 75), rng.uniform(115, 160), rng.uniform(35, 70)], dtype=np.float32)
    angle, width, offset = rng.uniform(0, math.pi), rng.uniform(0.12, 0.25), rng.uniform(0, 1)
    y, x = (np.mgrid[:SIDE, :SIDE].astype(np.float32) + 0.5) / SIDE
    stripes = np.floor((x * math.cos(angle) + y * math.sin(angle)) / width + offset) % 2
    image = green * (1 + 0.08 * (2 * stripes[..., None] - 1))
    image += rng.normal(0, 3, size=(SIDE, SIDE, 1)).astype(np.float32)
    for _ in range(int(rng.integers(1, 3))):
        point, direction = rng.uniform(0.1, 0.9, size=2), rng.uniform(0, math.pi)
        reach = 2 * np.array([math.cos(direction), math.sin(direction)])
        _draw_capsule(image, point - reach, point + reach, float(rng.uniform(0.006, 0.012)), LINE)
    if rng.random() < 0.5:
        centre, radius = rng.uniform(0, 1, size=2), float(rng.uniform(0.2, 0.4))
        distance = np.abs(np.hypot(x - centre[0], y - centre[1]) - radius) - 0.008
        _blend(image, distance, LINE)
    return image.astype(np.float32)


def _draw_ball(image: np.ndarray, centre: np.ndarray, radius: float, height: float, roll: float) -> None:
    shadow = centre + np.array([0.25 * radius, height + 0.35 * radius])
    _draw_capsule(image, shadow - (0.4 * radius, 0), shadow + (0.4 * radius, 0), 0.7 * radius, BLACK, opacity=0.4)
    _draw_capsule(image, centre, centre, radius, WHITE)
    _draw_capsule(image, centre, centre, 0.24 * radius, BLACK)
    for spot in range(5):
        angle = roll + 2 * math.pi * spot / 5
        at = centre + 0.68 * radius * np.array([math.cos(angle), math.sin(angle)])
        _draw_capsule(image, at, at, 0.17 * radius, BLACK)


def _draw_leg(
    image: np.ndarray,
    boot: tuple[np.ndarray, np.ndarray],
    side: int,
    boot_colour: tuple[float, float, float],
    sock_colour: tuple[float, float, float],
) -> None:
    toe, heel = boot
    knee = heel + np.array([side * 0.1, -0.35])
    hip = knee + np.array([-side * 0.05, -0.9])
    _draw_capsule(image, knee, hip, 1.3 * LEG_RADIUS, SKIN)
    _draw_capsule(image, heel, knee, LEG_RADIUS, sock_colour)
    _draw_capsule(image, toe, heel, BOOT_RADIUS, boot_colour)


def _draw_capsule(
    image: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    radius: float,
    colour: tuple[float, float, float],
    opacity: float = 1.0,
) -> None:
    """Draw a capsule with soft edges: all points within `radius` of the segment (a disc if its ends are equal)."""
    corners = np.stack([start, stop])
    low = np.floor((corners.min(axis=0) - radius) * SIDE).astype(int) - 1
    high = np.ceil((corners.max(axis=0) + radius) * SIDE).astype(int) + 1
    (left, top), (right, bottom) = np.clip(low, 0, SIDE), np.clip(high, 0, SIDE)
    if left >= right or top >= bottom:
        return
    y, x = (np.mgrid[top:bottom, left:right] + 0.5) / SIDE
    distance = _distance_to_segment(np.stack([x, y], axis=-1), start, stop) - radius
    _blend(image[top:bottom, left:right], distance, colour, opacity)


def _blend(image: np.ndarray, distance: np.ndarray, colour: tuple[float, float, float], opacity: float = 1.0) -> None:
    """Paint where the signed distance to a shape (in sides of the picture) is negative, in place."""
    coverage = np.clip(0.5 - distance * SIDE, 0, 1)[..., None] * opacity
    image += coverage * (np.array(colour) - image)


def _distance_to_segment(points: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Distance of points (.., 2) from a segment, (..)."""
    along = stop - start
    length_squared = float(along @ along)
    part = np.clip((points - start) @ along / length_squared, 0, 1) if length_squared else np.zeros(points.shape[:-1])
    return np.linalg.norm(points - start - part[..., None] * along, axis=-1)


def _runs(on: np.ndarray) -> list[tuple[int, int]]:
    """Runs of True in a (T,) bool array as 1-based (start, end), both ends included."""
    edges = np.flatnonzero(np.diff(np.r_[False, on, False].astype(np.int8)))
    return [(int(start) + 1, int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _write_video(path: Path, pictures: Iterator[np.ndarray]) -> None:
    """Encode RGB pictures (SIDE, SIDE, 3) uint8 as .mp4. Uses one thread, because the number of threads changes the bytes."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.width, video.height, video.pix_fmt = SIDE, SIDE, "yuv420p"
        video.codec_context.time_base = Fraction(1, FRAME_RATE)
        video.codec_context.gop_size = FRAME_RATE  # one key frame per second, for fast seeking
        video.thread_count = 1
        video.options = {"crf": "20", "preset": "veryfast"}
        for packet in _encoded(video, pictures):
            packet.duration = 1
            container.mux(packet)


def _encoded(video: av.VideoStream, pictures: Iterator[np.ndarray]) -> Iterator[av.Packet]:
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE)
        yield from video.encode(frame)
    yield from video.encode(None)
