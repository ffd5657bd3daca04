"""Train the small classification backbone that framewise ships, from pictures that this script draws itself.

No outside picture and no outside weight is involved: every training picture is rendered procedurally (cartoon-like
objects, textures and backgrounds drawn with OpenCV), and the network, the architecture ``yolov8n-cls``, starts from a
random initialisation.  What matters to framewise is not the classifier but the 1280 numbers in front of its last
linear layer, so the class loss is joined by auxiliary targets that a linear layer reads from the same numbers: which
kinds of object are present, where the main one is, how large, of which hue, how many there are, and whether two
objects touch.  The auxiliary layer is dropped when the weights are saved.

Two files are written, by default below ``framewise/features/weights``:

* ``framewise-n-cls.safetensors``: the network's state, in half precision;
* ``framewise-n-cls.json``: architecture, class names, picture size, held-out accuracy, checksum.

Run ``python -m tools.train_backbone`` to train, save and check, and ``python -m tools.train_backbone --check-only`` to
check the saved files again.  ``--effort 0.01`` makes a quick trial run of everything.
"""

from __future__ import annotations

import argparse
import colorsys
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from framewise.features.backbone import prepare_ultralytics

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rng = np.random.Generator
Colour = tuple[int, int, int]
Point = tuple[float, float]

ARCHITECTURE = "yolov8n-cls.yaml"
IMAGE_SIZE = 224
FEATURES = 1280
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "framewise" / "features" / "weights"
STEM = "framewise-n-cls"


# ---------------------------------------------------------------------------------------------------------------------
# Colours, and a pen for an object's own coordinates
# ---------------------------------------------------------------------------------------------------------------------


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB colour, components 0..255, from hue, saturation and value 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def random_colour(rng: Rng) -> Colour:
    """Random colour, including greys and near-whites, because real things are often unsaturated."""
    if rng.random() < 0.25:
        return hsv(rng.random(), rng.uniform(0, 0.12), rng.uniform(0.05, 1.0))
    return hsv(rng.random(), rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.0))


def tone(colour: Colour, factor: float) -> Colour:
    """Make a colour darker (factor below 1) or lighter (above 1)."""
    red, green, blue = (min(max(round(part * factor), 0), 255) for part in colour)
    return red, green, blue


SKINS: tuple[Colour, ...] = ((255, 224, 196), (241, 194, 150), (198, 134, 90), (141, 85, 48), (86, 52, 34))


def skin(rng: Rng) -> Colour:
    return SKINS[int(rng.integers(len(SKINS)))]


def arc(centre: Point, rx: float, ry: float, start: float = 0.0, end: float = 360.0, steps: int = 28) -> list[Point]:
    """Points on an ellipse, angles in degrees, y pointing down."""
    angles = np.radians(np.linspace(start, end, steps))
    return [(centre[0] + rx * math.cos(a), centre[1] + ry * math.sin(a)) for a in angles]


@dataclass
class Pen:
    """Pen that draws on a picture and its mask, in coordinates where the object fills the square -1..1."""

    picture: Picture
    mask: Picture
    matrix: Floats  # 2 x 3: the object's coordinates to pixels
    scale: float  # pixels for one unit

    def _pixels(self, points: list[Point]) -> NDArray[np.int32]:
        homogeneous = np.c_[np.asarray(points, np.float32), np.ones(len(points), np.float32)]
        pixels: NDArray[np.int32] = np.round(homogeneous @ self.matrix.T * 16).astype(np.int32)
        return pixels

    def poly(self, points: list[Point], colour: Colour) -> None:
        pixels = [self._pixels(points)]
        cv2.fillPoly(self.picture, pixels, colour, cv2.LINE_AA, 4)
        cv2.fillPoly(self.mask, pixels, 255, cv2.LINE_AA, 4)

    def line(self, points: list[Point], width: float, colour: Colour, closed: bool = False) -> None:
        pixels, thick = [self._pixels(points)], max(1, round(width * self.scale))
        cv2.polylines(self.picture, pixels, closed, colour, thick, cv2.LINE_AA, 4)
        cv2.polylines(self.mask, pixels, closed, 255, thick, cv2.LINE_AA, 4)

    def oval(self, centre: Point, rx: float, ry: float, colour: Colour) -> None:
        self.poly(arc(centre, rx, ry), colour)

    def rect(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.poly([(left, top), (right, top), (right, bottom), (left, bottom)], colour)


@dataclass
class Inks:
    """The colours of one object."""

    main: Colour
    second: Colour
    dark: Colour


# ---------------------------------------------------------------------------------------------------------------------
# The kinds of object
# ---------------------------------------------------------------------------------------------------------------------


def _inside(points: list[Point], radius: float = 0.98) -> list[Point]:
    """Pull points that lie outside the circle back onto it, so that a ball's patches stay on the ball."""
    shrunk = []
    for x, y in points:
        length = math.hypot(x, y)
        factor = min(1.0, radius / length) if length else 1.0
        shrunk.append((x * factor, y * factor))
    return shrunk


def _football(pen: Pen, rng: Rng, inks: Inks) -> None:
    base = (245, 245, 245) if rng.random() < 0.7 else tone(inks.main, 1.3)
    patch = (25, 25, 25) if rng.random() < 0.6 else inks.second
    pen.oval((0, 0), 1, 1, base)
    shift = rng.uniform(-0.25, 0.25, 2)
    centres = [(0.0, 0.0)] + [(0.85 * math.cos(a), 0.85 * math.sin(a)) for a in np.arange(5) * math.tau / 5]
    for index, (x, y) in enumerate(centres):
        turn = math.pi / 5 if index == 0 else 0.0
        angles = np.arange(5) * math.tau / 5 + turn
        pentagon = [(x + shift[0] + 0.34 * math.cos(a), y + shift[1] + 0.34 * math.sin(a)) for a in angles]
        pen.poly(_inside(pentagon), patch)


def _seamed_ball(pen: Pen, rng: Rng, inks: Inks) -> None:
    if rng.random() < 0.5:  # like a tennis ball
        base, seam = hsv(rng.uniform(0.14, 0.24), 0.8, rng.uniform(0.8, 1)), (245, 245, 240)
        pen.oval((0, 0), 1, 1, base)
        for side in (-1, 1):
            pen.line(_inside(arc((side * 1.15, 0), 0.8, 0.9), 0.95), 0.09, seam)
    else:  # like a basketball
        base = hsv(rng.uniform(0.03, 0.09), 0.85, rng.uniform(0.6, 0.95))
        pen.oval((0, 0), 1, 1, base)
        pen.line([(-0.97, 0), (0.97, 0)], 0.06, inks.dark)
        pen.line([(0, -0.97), (0, 0.97)], 0.06, inks.dark)
        for side in (-1, 1):
            pen.line(_inside(arc((side * 1.2, 0), 0.75, 0.95), 0.95), 0.06, inks.dark)


def draw_ball(pen: Pen, rng: Rng, inks: Inks) -> None:
    style = rng.random()
    if style < 0.4:
        white = rng.random() < 0.35
        pen.oval((0, 0), 1, 1, hsv(0, 0, rng.uniform(0.85, 1)) if white else inks.main)
        if rng.random() < 0.3:
            pen.line(arc((0, 0), 0.97, 0.97), 0.05, inks.dark, closed=True)
    elif style < 0.7:
        _football(pen, rng, inks)
    elif style < 0.87:
        _seamed_ball(pen, rng, inks)
    else:  # sectors, like a beach ball
        for index in range(6):
            sector = [(0.0, 0.0), *arc((0, 0), 1, 1, index * 60, index * 60 + 61, 8)]
            pen.poly(sector, inks.main if index % 2 else inks.second)


def draw_box(pen: Pen, rng: Rng, inks: Inks) -> None:
    depth = rng.uniform(0.25, 0.6)
    edge = 1 - depth
    pen.poly([(-1, -1 + depth), (edge, -1 + depth), (edge, 1), (-1, 1)], inks.main)
    pen.poly([(-1, -1 + depth), (-1 + depth, -1), (1, -1), (edge, -1 + depth)], tone(inks.main, 1.35))
    pen.poly([(edge, -1 + depth), (1, -1), (1, 1 - depth), (edge, 1)], tone(inks.main, 0.6))
    if rng.random() < 0.4:
        middle = (edge - 1) / 2
        pen.rect(middle - 0.12, -1 + depth, middle + 0.12, 1, inks.second)


def draw_square(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.rect(-0.9, -0.9, 0.9, 0.9, inks.main)
    if rng.random() < 0.4:
        pen.line([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)], 0.1, inks.second, closed=True)


def draw_cross(pen: Pen, rng: Rng, inks: Inks) -> None:
    w = rng.uniform(0.15, 0.35)
    pen.rect(-w, -1, w, 1, inks.main)
    pen.rect(-1, -w, 1, w, inks.main)


def draw_ring(pen: Pen, rng: Rng, inks: Inks) -> None:
    width = rng.uniform(0.15, 0.4)
    pen.line(arc((0, 0), 1 - width / 2, 1 - width / 2, steps=40), width, inks.main, closed=True)


def draw_triangle(pen: Pen, rng: Rng, inks: Inks) -> None:
    tip = rng.uniform(-0.4, 0.4)
    corners: list[Point] = [(tip, -1), (1, 0.9), (-1, 0.9)]
    pen.poly(corners, inks.main)
    if rng.random() < 0.4:
        pen.line(corners, 0.1, inks.second, closed=True)


def draw_star(pen: Pen, rng: Rng, inks: Inks) -> None:
    inner, tips = rng.uniform(0.35, 0.5), int(rng.integers(5, 7))
    angles = np.arange(2 * tips) * math.pi / tips - math.pi / 2
    radii = np.where(np.arange(2 * tips) % 2, inner, 1.0)
    pen.poly([(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)], inks.main)


def draw_heart(pen: Pen, rng: Rng, inks: Inks) -> None:
    t = np.linspace(0, math.tau, 36)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    pen.poly(list(zip(x.tolist(), y.tolist(), strict=True)), inks.main)


def draw_moon(pen: Pen, rng: Rng, inks: Inks) -> None:
    inner = rng.uniform(0.15, 0.45)
    pen.poly(arc((0, 0), 1, 1, 90, 270) + arc((0, 0), inner, 1, 270, 90), inks.main)


def draw_arrow(pen: Pen, rng: Rng, inks: Inks) -> None:
    w, head, wing = rng.uniform(0.12, 0.25), rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.8)
    pen.poly([(-1, -w), (head, -w), (head, -wing), (1, 0), (head, wing), (head, w), (-1, w)], inks.main)


def draw_bottle(pen: Pen, rng: Rng, inks: Inks) -> None:
    w, neck = rng.uniform(0.3, 0.45), rng.uniform(0.1, 0.16)
    body = [(neck, -0.85), (neck, -0.5), (w, -0.2), (w, 1), (-w, 1), (-w, -0.2), (-neck, -0.5), (-neck, -0.85)]
    pen.poly(body, inks.main)
    pen.rect(-neck * 1.3, -1, neck * 1.3, -0.82, inks.second)
    if rng.random() < 0.6:
        pen.rect(-w, 0.1, w, 0.6, inks.second)


def draw_cup(pen: Pen, rng: Rng, inks: Inks) -> None:
    base = rng.uniform(0.4, 0.65)
    pen.line(arc((0.62, 0.0), 0.33, 0.4), 0.13, tone(inks.main, 0.85), closed=True)
    pen.poly([(-0.8, -0.75), (0.65, -0.75), (base, 0.9), (-base - 0.1, 0.9)], inks.main)
    pen.oval((-0.07, -0.75), 0.72, 0.16, tone(inks.main, 0.6))


def _limb(
    pen: Pen,
    start: Point,
    lengths: tuple[float, float],
    angles: tuple[float, float],
    width: float,
    colours: tuple[Colour, Colour],
) -> Point:
    """Two joined segments; angles from straight down, in radians.  Returns the far end."""
    points = [start]
    for length, angle in zip(lengths, angles, strict=True):
        x, y = points[-1]
        points.append((x + length * math.sin(angle), y + length * math.cos(angle)))
    pen.line(points[:2], width, colours[0])
    pen.line(points[1:], width * 0.9, colours[1])
    return points[-1]


def draw_person(pen: Pen, rng: Rng, inks: Inks) -> None:
    flesh, trousers = skin(rng), inks.second
    stick = rng.random() < 0.2  # every limb thin and of one colour
    width = 0.07 if stick else rng.uniform(0.14, 0.22)
    if stick:
        flesh = trousers = inks.main
    bare = flesh if rng.random() < 0.5 else trousers
    stride = rng.uniform(-0.7, 0.7)
    for side in (-1, 1):
        hip, thigh = (side * 0.1, 0.12), side * stride * rng.uniform(0.6, 1.1) + rng.normal(0, 0.1)
        foot = _limb(pen, hip, (0.42, 0.42), (thigh, thigh - rng.uniform(0, 0.7) * np.sign(stride)), width, (trousers, bare))
        if not stick:
            toe = 0.14 * (1 if stride > 0 else -1)
            pen.line([foot, (foot[0] + toe, foot[1])], width * 0.7, inks.dark)
    for side in (-1, 1):
        upper = side * rng.uniform(0.1, 1.6)
        _limb(pen, (side * 0.18, -0.42), (0.32, 0.3), (upper, upper + rng.uniform(-0.9, 0.9)), width * 0.75, (inks.main, flesh))
    if stick:
        pen.line([(0, -0.5), (0, 0.12)], width, inks.main)
    else:
        pen.poly([(-0.25, -0.52), (0.25, -0.52), (0.2, 0.2), (-0.2, 0.2)], inks.main)
    pen.oval((0, -0.76), 0.17, 0.21, flesh)
    if not stick and rng.random() < 0.8:
        pen.poly(arc((0, -0.8), 0.18, 0.2, 180, 360, 12), inks.dark)


def draw_hand(pen: Pen, rng: Rng, inks: Inks) -> None:
    flesh = skin(rng) if rng.random() < 0.8 else inks.main
    pen.poly([(-0.25, 1), (0.25, 1), (0.42, 0.2), (0.38, -0.1), (-0.38, -0.1), (-0.42, 0.2)], flesh)
    for index, x in enumerate((-0.3, -0.1, 0.1, 0.3)):
        length = (0.6, 0.8, 0.85, 0.65)[index] * (rng.uniform(0.25, 0.6) if rng.random() < 0.15 else 1.0)
        spread = x * rng.uniform(0.2, 0.9)
        pen.line([(x, 0), (x + spread, -0.05 - length)], 0.17, flesh)
        pen.line([(x + 0.1, 0), (x + 0.1 + spread * 0.4, -0.2)], 0.02, tone(flesh, 0.7))
    pen.line([(0.3, 0.45), (0.75, rng.uniform(-0.1, 0.2))], 0.19, flesh)


def draw_foot(pen: Pen, rng: Rng, inks: Inks) -> None:
    """A shoe below a leg."""
    leg = skin(rng) if rng.random() < 0.5 else inks.second
    lean = rng.uniform(-0.35, 0.35)
    pen.poly([(-0.62 + lean, -1), (-0.12 + lean, -1), (-0.15, 0.4), (-0.6, 0.4)], leg)
    if rng.random() < 0.6:
        pen.poly([(-0.6 + lean / 3, -0.2), (-0.14 + lean / 3, -0.2), (-0.15, 0.4), (-0.6, 0.4)], inks.second)
    pen.poly([(-0.75, 0.3), (-0.1, 0.25), (0.3, 0.5), (0.8, 0.62), (0.97, 0.85), (-0.78, 0.85)], inks.main)
    pen.rect(-0.78, 0.82, 0.97, 0.97, inks.dark if rng.random() < 0.5 else (240, 240, 240))
    if rng.random() < 0.5:
        pen.line([(-0.3, 0.75), (0.1, 0.5)], 0.1, inks.second)


def draw_face(pen: Pen, rng: Rng, inks: Inks) -> None:
    flesh = skin(rng) if rng.random() < 0.75 else inks.main
    pen.oval((0, -0.1), 0.85, 0.85, inks.dark)
    pen.oval((0, 0.05), 0.75, 0.93, flesh)
    for x in (-0.3, 0.3):
        pen.oval((x, -0.1), 0.13, 0.1, (245, 245, 245))
        pen.oval((x + rng.uniform(-0.04, 0.04), -0.1), 0.06, 0.07, (20, 20, 20))
        pen.line([(x - 0.15, -0.28), (x + 0.15, -0.28 + rng.uniform(-0.08, 0.08))], 0.05, inks.dark)
    pen.line([(0, 0), (0.06, 0.25)], 0.05, tone(flesh, 0.7))
    curve = rng.uniform(-0.15, 0.3)
    pen.line([(-0.3, 0.55 - curve / 2), (0, 0.55 + curve / 2), (0.3, 0.55 - curve / 2)], 0.08, (170, 40, 50))


def draw_car(pen: Pen, rng: Rng, inks: Inks) -> None:
    roof = rng.uniform(-0.6, -0.4)
    body = [(-1, -0.05), (-0.65, -0.1), (-0.4, roof), (0.3, roof), (0.6, -0.1), (1, 0), (1, 0.4), (-1, 0.4)]
    pen.poly(body, inks.main)
    glass = hsv(0.55, 0.3, rng.uniform(0.3, 0.95))
    pen.poly([(-0.52, -0.1), (-0.35, roof + 0.08), (-0.07, roof + 0.08), (-0.07, -0.1)], glass)
    pen.poly([(0.03, -0.1), (0.03, roof + 0.08), (0.26, roof + 0.08), (0.46, -0.1)], glass)
    for x in (-0.55, 0.55):
        pen.oval((x, 0.4), 0.24, 0.24, (25, 25, 25))
        pen.oval((x, 0.4), 0.11, 0.11, (170, 170, 170))


def draw_bicycle(pen: Pen, rng: Rng, inks: Inks) -> None:
    for x in (-0.55, 0.55):
        pen.line(arc((x, 0.35), 0.4, 0.4), 0.06, inks.dark, closed=True)
    pen.line([(-0.55, 0.35), (-0.2, -0.25), (0.35, -0.25), (-0.02, 0.35), (-0.55, 0.35)], 0.08, inks.main)
    pen.line([(-0.02, 0.35), (-0.25, -0.4)], 0.08, inks.main)
    pen.line([(0.55, 0.35), (0.3, -0.5), (0.5, -0.6)], 0.08, inks.main)
    pen.line([(-0.42, -0.42), (-0.1, -0.42)], 0.1, inks.dark)


def draw_boat(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.poly([(-0.9, 0.45), (0.9, 0.45), (0.6, 0.9), (-0.6, 0.9)], inks.main)
    pen.rect(-0.05, -1, 0.03, 0.45, inks.dark)
    pen.poly([(0.07, -0.9), (0.75, 0.3), (0.07, 0.3)], inks.second)
    pen.poly([(-0.1, -0.7), (-0.1, 0.3), (-0.65, 0.3)], tone(inks.second, 0.85))


def draw_tree(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.rect(-0.12, 0.1, 0.12, 1, hsv(0.07, 0.6, rng.uniform(0.25, 0.5)))
    crown = hsv(rng.uniform(0.2, 0.42), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.75))
    if rng.random() < 0.15:
        crown = inks.main
    if rng.random() < 0.5:
        for top, half in ((-1.0, 0.45), (-0.65, 0.6), (-0.25, 0.75)):
            pen.poly([(0, top), (half, top + 0.7), (-half, top + 0.7)], crown)
    else:
        for _ in range(7):
            x, y = rng.uniform(-0.4, 0.4), rng.uniform(-0.65, 0.0)
            pen.oval((x, y), 0.36, 0.34, tone(crown, rng.uniform(0.85, 1.15)))


def draw_house(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.rect(-0.8, -0.2, 0.8, 1, inks.main)
    pen.poly([(-1, -0.2), (0, -1), (1, -0.2)], inks.second)
    pen.rect(-0.18, 0.4, 0.18, 1, inks.dark)
    for x in (-0.5, 0.5):
        pen.rect(x - 0.18, 0.0, x + 0.18, 0.33, (200, 225, 240) if rng.random() < 0.7 else inks.dark)


def draw_leaf(pen: Pen, rng: Rng, inks: Inks) -> None:
    w = rng.uniform(0.3, 0.55)
    colour = inks.main if rng.random() < 0.4 else hsv(rng.uniform(0.08, 0.4), 0.75, rng.uniform(0.4, 0.9))
    x = np.linspace(-0.8, 1, 16)
    y = w * np.sin((x + 0.8) / 1.8 * math.pi) ** 0.8
    upper = list(zip(x.tolist(), y.tolist(), strict=True))
    pen.poly(upper + [(a, -b) for a, b in reversed(upper)], colour)
    pen.line([(-1, 0), (0.9, 0)], 0.05, tone(colour, 0.6))
    for at in (-0.4, 0.0, 0.4):
        for side in (-1, 1):
            pen.line([(at, 0), (at + 0.25, side * w * 0.6)], 0.025, tone(colour, 0.6))


def draw_flower(pen: Pen, rng: Rng, inks: Inks) -> None:
    petals = int(rng.integers(5, 9))
    if rng.random() < 0.6:
        pen.line([(0, -0.3), (rng.uniform(-0.15, 0.15), 1)], 0.08, (50, 130, 50))
        pen.oval((0.22, 0.6), 0.22, 0.1, (60, 150, 60))
    for angle in np.arange(petals) * math.tau / petals:
        pen.oval((0.42 * math.cos(angle), -0.35 + 0.42 * math.sin(angle)), 0.23, 0.23, inks.main)
    pen.oval((0, -0.35), 0.24, 0.24, inks.second)


def draw_fish(pen: Pen, rng: Rng, inks: Inks) -> None:
    h = rng.uniform(0.35, 0.55)
    pen.poly([(0.4, 0), (1, -0.5), (0.85, 0), (1, 0.5)], tone(inks.main, 0.8))
    pen.poly([(-0.2, -h * 0.8), (0.15, -h - 0.25), (0.3, -h * 0.5)], tone(inks.main, 0.8))
    pen.oval((-0.2, 0), 0.78, h, inks.main)
    for x in (-0.3, 0.0, 0.25) if rng.random() < 0.5 else ():
        pen.line(arc((x - 0.1, 0), 0.12, h * 0.7, -80, 80, 8), 0.08, inks.second)
    pen.oval((-0.65, -0.1), 0.1, 0.1, (250, 250, 250))
    pen.oval((-0.67, -0.1), 0.05, 0.05, (10, 10, 10))


def draw_dog(pen: Pen, rng: Rng, inks: Inks) -> None:
    coat = inks.main if rng.random() < 0.4 else hsv(0.07, rng.uniform(0, 0.7), rng.uniform(0.15, 0.9))
    for x in (-0.5, -0.3, 0.3, 0.5):
        pen.line([(x, 0.2), (x + rng.uniform(-0.15, 0.15), 0.85)], 0.15, tone(coat, 0.85))
    pen.oval((0, 0.1), 0.68, 0.28, coat)
    pen.line([(0.6, 0), (0.95, rng.uniform(-0.6, -0.1))], 0.1, coat)
    pen.poly([(-0.65, 0.1), (-0.3, -0.05), (-0.45, -0.4), (-0.75, -0.4)], coat)
    pen.oval((-0.62, -0.4), 0.26, 0.22, coat)
    pen.oval((-0.85, -0.32), 0.17, 0.12, tone(coat, 1.2))
    pen.oval((-0.98, -0.36), 0.05, 0.05, (15, 15, 15))
    pen.oval((-0.48, -0.38), 0.1, 0.24, tone(coat, 0.6))
    pen.oval((-0.7, -0.47), 0.04, 0.04, (10, 10, 10))


def draw_cat(pen: Pen, rng: Rng, inks: Inks) -> None:
    coat = inks.main if rng.random() < 0.4 else hsv(0.08, rng.uniform(0, 0.8), rng.uniform(0.2, 0.95))
    pen.line(arc((0.5, 0.5), 0.4, 0.45, -60, 90, 10), 0.12, tone(coat, 0.85))
    pen.oval((0, 0.5), 0.45, 0.5, coat)
    for side in (-1, 1):
        pen.poly([(side * 0.42, -0.4), (side * 0.4, -1), (side * 0.05, -0.7)], coat)
        pen.line([(side * 0.15, -0.15), (side * 0.7, -0.15 + rng.uniform(-0.1, 0.1))], 0.03, inks.dark)
    pen.oval((0, -0.35), 0.47, 0.4, coat)
    for x in (-0.18, 0.18):
        pen.oval((x, -0.42), 0.1, 0.09, (190, 220, 90))
        pen.oval((x, -0.42), 0.035, 0.08, (10, 10, 10))
    pen.poly([(-0.06, -0.25), (0.06, -0.25), (0, -0.17)], (230, 120, 130))


def draw_bird(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.poly([(0.35, 0), (1, -0.15), (0.95, 0.2)], tone(inks.main, 0.8))
    pen.oval((0, 0.1), 0.55, 0.38, inks.main)
    pen.oval((-0.5, -0.3), 0.28, 0.28, inks.main)
    pen.poly([(-0.73, -0.38), (-1, -0.25), (-0.73, -0.18)], (240, 160, 30))
    pen.oval((-0.56, -0.36), 0.06, 0.06, (10, 10, 10))
    pen.poly([(-0.2, 0.0), (0.45, -0.05), (0.2 + rng.uniform(0, 0.3), rng.choice([-0.7, 0.4]))], inks.second)
    for x in (-0.1, 0.1):
        pen.line([(x, 0.45), (x, 0.85)], 0.05, (200, 130, 40))


def draw_butterfly(pen: Pen, rng: Rng, inks: Inks) -> None:
    for side in (-1, 1):
        pen.poly([(0, -0.1), (side * 0.5, -0.9), (side, -0.7), (side * 0.9, -0.1), (0, 0.1)], inks.main)
        pen.poly([(0, 0), (side * 0.8, 0.1), (side * 0.65, 0.75), (side * 0.25, 0.7)], inks.second)
        pen.oval((side * 0.6, -0.45), 0.14, 0.14, inks.second)
        pen.line([(0, -0.5), (side * 0.2, -0.9)], 0.03, inks.dark)
    pen.oval((0, 0), 0.09, 0.55, inks.dark)


def draw_chair(pen: Pen, rng: Rng, inks: Inks) -> None:
    w = rng.uniform(0.1, 0.16)
    pen.rect(-0.65, -1, -0.65 + w, 1, inks.main)
    pen.rect(-0.65, 0.05, 0.6, 0.25, inks.second)
    pen.rect(0.6 - w, 0.2, 0.6, 1, inks.main)
    for y in (-0.9, -0.5) if rng.random() < 0.5 else (-0.7,):
        pen.poly([(-0.6, y), (-0.2, y + 0.1), (-0.2, y + 0.3), (-0.6, y + 0.2)], inks.main)
    pen.rect(-0.25, 0.2, -0.25 + w, 0.8, tone(inks.main, 0.7))


def draw_table(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.poly([(-0.7, -0.5), (0.7, -0.5), (1, -0.15), (-1, -0.15)], inks.main)
    pen.rect(-1, -0.15, 1, -0.03, tone(inks.main, 0.7))
    for x in (-0.9, 0.78):
        pen.rect(x, -0.03, x + 0.13, 0.9, tone(inks.main, 0.8))
    for x in (-0.6, 0.5):
        pen.rect(x, -0.03, x + 0.1, 0.55, tone(inks.main, 0.55))


def draw_ladder(pen: Pen, rng: Rng, inks: Inks) -> None:
    w, rungs = rng.uniform(0.25, 0.4), int(rng.integers(5, 8))
    for side in (-1, 1):
        pen.line([(side * w, -1), (side * w * 1.2, 1)], 0.1, inks.main)
    for y in np.linspace(-0.85, 0.85, rungs):
        pen.line([(-w, float(y)), (w, float(y))], 0.08, inks.main)


def draw_umbrella(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.line([(0, -0.9), (0, 0.75)], 0.07, inks.dark)
    pen.line(arc((0.15, 0.75), 0.15, 0.2, 0, 180, 10), 0.07, inks.dark)
    pen.poly(arc((0, 0), 1, 0.85, 180, 360), inks.main)
    for index in (0, 2):
        left, right = -1 + index * 0.5, -0.5 + index * 0.5
        pen.poly([(left, 0), (right, 0), (0, -0.85)], inks.second)


def draw_lamp(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.rect(-0.05, -0.2, 0.05, 0.9, inks.dark)
    pen.oval((0, 0.9), 0.4, 0.1, inks.dark)
    top = rng.uniform(0.2, 0.4)
    pen.poly([(-top, -1), (top, -1), (0.7, -0.15), (-0.7, -0.15)], inks.main)


def draw_book(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.poly([(-1, -0.6), (0, -0.45), (1, -0.6), (1, 0.65), (0, 0.8), (-1, 0.65)], inks.main)
    for side in (-1, 1):
        pen.poly([(0, -0.42), (side * 0.92, -0.57), (side * 0.92, 0.55), (0, 0.7)], (245, 240, 225))
        for y in np.linspace(-0.3, 0.4, 5):
            pen.line([(side * 0.12, float(y)), (side * 0.8, float(y) - 0.1)], 0.035, (90, 90, 90))


def draw_clock(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.oval((0, 0), 1, 1, inks.main)
    pen.oval((0, 0), 0.83, 0.83, (248, 246, 238))
    for angle in np.arange(12) * math.tau / 12:
        c, s = math.cos(angle), math.sin(angle)
        pen.line([(0.68 * c, 0.68 * s), (0.78 * c, 0.78 * s)], 0.06, (20, 20, 20))
    for length in (0.4, 0.62):
        angle = rng.uniform(0, math.tau)
        pen.line([(0, 0), (length * math.cos(angle), length * math.sin(angle))], 0.07, (20, 20, 20))


def draw_flag(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.rect(-0.85, -1, -0.73, 1, inks.dark)
    x = np.linspace(-0.73, 1, 10)
    wave = 0.1 * np.sin(x * 4 + rng.uniform(0, 6))
    for low, high, colour in ((-0.9, -0.3, inks.main), (-0.35, 0.2, inks.second)):
        top = [(float(a), float(b) + low) for a, b in zip(x, wave, strict=True)]
        pen.poly(top + [(float(a), float(b) + high) for a, b in zip(x[::-1], wave[::-1], strict=True)], colour)


def draw_hammer(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.rect(-0.1, -0.6, 0.1, 1, inks.main)
    grey = hsv(0, 0, rng.uniform(0.2, 0.7))
    pen.poly([(-0.55, -0.95), (0.3, -0.95), (0.75, -0.6), (0.2, -0.55), (-0.55, -0.55)], grey)


def draw_key(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.line(arc((-0.6, 0), 0.3, 0.3), 0.16, inks.main, closed=True)
    pen.rect(-0.3, -0.08, 1, 0.08, inks.main)
    for x in (0.55, 0.8):
        pen.rect(x, 0, x + 0.13, rng.uniform(0.25, 0.4), inks.main)


def draw_spoon(pen: Pen, rng: Rng, inks: Inks) -> None:
    metal = inks.main if rng.random() < 0.5 else hsv(0.6, 0.05, rng.uniform(0.5, 0.95))
    pen.line([(-0.3, 0), (1, 0)], 0.12, metal)
    pen.oval((-0.6, 0), 0.4, 0.27, metal)
    pen.oval((-0.6, 0), 0.28, 0.17, tone(metal, 0.75))


def draw_glasses(pen: Pen, rng: Rng, inks: Inks) -> None:
    for x in (-0.52, 0.52):
        pen.oval((x, 0), 0.4, 0.34, tone(inks.second, 1.2))
        pen.line(arc((x, 0), 0.4, 0.34), 0.09, inks.dark, closed=True)
    pen.line(arc((0, 0), 0.14, 0.12, 180, 360, 8), 0.08, inks.dark)


def draw_cone(pen: Pen, rng: Rng, inks: Inks) -> None:
    body = hsv(rng.uniform(0.0, 0.1), 0.9, 0.95) if rng.random() < 0.6 else inks.main
    pen.poly([(-0.1, -1), (0.1, -1), (0.65, 0.8), (-0.65, 0.8)], body)
    pen.poly([(-0.28, -0.4), (0.28, -0.4), (0.42, 0.05), (-0.42, 0.05)], (245, 245, 245))
    pen.rect(-0.9, 0.78, 0.9, 1, tone(body, 0.8))


def draw_mushroom(pen: Pen, rng: Rng, inks: Inks) -> None:
    pen.poly([(-0.22, 0), (0.22, 0), (0.32, 1), (-0.32, 1)], (240, 230, 210))
    pen.poly(arc((0, 0.1), 1, 1, 180, 360), inks.main)
    for x, y in ((-0.5, -0.2), (0.05, -0.55), (0.5, -0.15)):
        pen.oval((x, y), 0.14, 0.12, (250, 250, 245))


def draw_goal(pen: Pen, rng: Rng, inks: Inks) -> None:
    frame = (240, 240, 240) if rng.random() < 0.7 else inks.main
    for x in np.linspace(-0.9, 0.9, 10):
        pen.line([(float(x), -0.55), (float(x), 0.6)], 0.015, tone(frame, 0.8))
    for y in np.linspace(-0.5, 0.55, 7):
        pen.line([(-0.95, float(y)), (0.95, float(y))], 0.015, tone(frame, 0.8))
    pen.line([(-0.95, 0.65), (-0.95, -0.6), (0.95, -0.6), (0.95, 0.65)], 0.09, frame)


Draw = Callable[[Pen, Rng, Inks], None]
OBJECTS: dict[str, Draw] = {
    name.removeprefix("draw_"): value for name, value in list(globals().items()) if name.startswith("draw_")
}


# ---------------------------------------------------------------------------------------------------------------------
# Backgrounds and textures
# ---------------------------------------------------------------------------------------------------------------------


def _mix(level: Floats, low: Colour, high: Colour) -> Picture:
    """Blend of two colours by a map of levels 0..1."""
    level = np.clip(level, 0, 1)[..., None]
    return (np.array(low, np.float32) * (1 - level) + np.array(high, np.float32) * level).astype(np.uint8)


def _grid(size: int) -> tuple[Floats, Floats]:
    axis = np.linspace(0, 1, size, dtype=np.float32)
    return axis[None, :], axis[:, None]


def _clouds(rng: Rng, size: int, coarse: int = 3, octaves: int = 4, fall: float = 0.55) -> Floats:
    """Smooth noise 0..1: a few octaves of random grids, each enlarged to the picture's size."""
    total, weight = np.zeros((size, size), np.float32), 1.0
    for octave in range(octaves):
        cells = min(coarse * 2**octave, size)
        grid = rng.random((cells, cells), dtype=np.float32)
        total += weight * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        weight *= fall
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _turned(rng: Rng, size: int) -> tuple[Floats, Floats]:
    """Coordinates of the picture rotated by a random angle."""
    x, y = _grid(size)
    angle = rng.uniform(0, math.pi)
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * c + y * s + np.float32(rng.random()), y * c - x * s + np.float32(rng.random())


def _two(rng: Rng) -> tuple[Colour, Colour]:
    """Two distinguishable colours."""
    first = random_colour(rng)
    for _ in range(5):
        second = random_colour(rng)
        if np.abs(np.subtract(first, second)).sum() > 120:
            break
    return first, second


def back_plain(rng: Rng, size: int) -> Picture:
    return np.full((size, size, 3), random_colour(rng), np.uint8)


def back_gradient(rng: Rng, size: int) -> Picture:
    u, _ = _turned(rng, size)
    return _mix((u - u.min()) / (u.max() - u.min()), random_colour(rng), random_colour(rng))


def back_clouds(rng: Rng, size: int) -> Picture:
    level = _clouds(rng, size, int(rng.integers(2, 7)), int(rng.integers(3, 6)))
    return _mix(level, random_colour(rng), random_colour(rng))


def back_leaves(rng: Rng, size: int) -> Picture:
    """Dead leaves: overlapping polygons of all sizes, whose edges resemble those of real pictures."""
    picture = back_plain(rng, size)
    base, spread = np.asarray(random_colour(rng), float), rng.uniform(10, 90)
    for _ in range(int(rng.integers(20, 90))):
        centre, radius = rng.uniform(0, size, 2), size * 0.02 / rng.uniform(0.08, 1)
        corners = int(rng.integers(3, 7))
        angles = np.sort(rng.uniform(0, math.tau, corners))
        reach = radius * rng.uniform(0.6, 1.4, (corners, 1))
        points = centre + reach * np.c_[np.cos(angles), np.sin(angles)]
        colour = np.clip(base + rng.normal(0, spread, 3), 0, 255)
        cv2.fillPoly(picture, [points.astype(np.int32)], colour.tolist(), cv2.LINE_AA)
    return picture


def back_lines(rng: Rng, size: int) -> Picture:
    picture = back_gradient(rng, size)
    for _ in range(int(rng.integers(3, 16))):
        ends = rng.integers(-size // 4, size + size // 4, 4).tolist()
        cv2.line(picture, ends[:2], ends[2:], random_colour(rng), int(rng.integers(1, 5)), cv2.LINE_AA)
    return picture


def back_room(rng: Rng, size: int) -> Picture:
    """A wall above a floor, with a few large flat things."""
    picture = back_gradient(rng, size)
    horizon = int(size * rng.uniform(0.35, 0.85))
    picture[horizon:] = random_colour(rng)
    for _ in range(int(rng.integers(0, 5))):
        left, top = rng.integers(0, size, 2)
        width, height = (size * rng.uniform(0.1, 0.5, 2)).astype(int)
        cv2.rectangle(picture, (int(left), int(top)), (int(left + width), int(top + height)), random_colour(rng), -1)
    return picture


def back_stripes(rng: Rng, size: int) -> Picture:
    u, _ = _turned(rng, size)
    wave = np.sin(u * np.float32(math.tau * rng.uniform(3, 16)))
    return _mix(0.5 + 0.5 * np.clip(wave * rng.choice([1.0, 4.0, 20.0]), -1, 1), *_two(rng))


def back_checkerboard(rng: Rng, size: int) -> Picture:
    u, v = _turned(rng, size)
    pitch = np.float32(math.pi * rng.uniform(3, 14))
    return _mix((np.sin(u * pitch) * np.sin(v * pitch) > 0).astype(np.float32), *_two(rng))


def back_dots(rng: Rng, size: int) -> Picture:
    u, v = _turned(rng, size)
    pitch, radius = np.float32(rng.uniform(4, 14)), rng.uniform(0.18, 0.4)
    distance = np.hypot((u * pitch) % 1 - 0.5, (v * pitch) % 1 - 0.5)
    return _mix(np.clip((radius - distance) * size / pitch + 0.5, 0, 1).astype(np.float32), *_two(rng))


def back_noise(rng: Rng, size: int) -> Picture:
    cells = max(8, int(size / rng.choice([1, 1, 2, 3])))
    if rng.random() < 0.5:
        grain = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    else:
        grain = _mix(rng.random((cells, cells), dtype=np.float32), *_two(rng))
    return np.asarray(cv2.resize(grain, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)


def _blades(rng: Rng, size: int) -> Floats:
    """Vertically stretched noise, standardised."""
    noise = rng.standard_normal((size, size), dtype=np.float32)
    blades = cv2.blur(noise, (1, int(rng.integers(3, 13))))
    standard: Floats = (blades - blades.mean()) / (blades.std() + 1e-6)
    return standard


def back_grass(rng: Rng, size: int) -> Picture:
    hue = rng.uniform(0.18, 0.4)
    low = hsv(hue, rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.35))
    high = hsv(hue - 0.04, rng.uniform(0.4, 0.8), rng.uniform(0.5, 0.95))
    return _mix(0.5 + 0.22 * _blades(rng, size) + 0.2 * (_clouds(rng, size, 3, 2) - 0.5), low, high)


def back_water(rng: Rng, size: int) -> Picture:
    x, y = _grid(size)
    warp, hue = _clouds(rng, size, 4, 3), rng.uniform(0.48, 0.64)
    waves = np.sin((y + 0.08 * warp) * math.tau * rng.uniform(8, 22) + 3 * np.sin(x * rng.uniform(4, 14) + 6 * warp))
    low = hsv(hue, rng.uniform(0.5, 0.95), rng.uniform(0.2, 0.6))
    return _mix((0.4 + 0.3 * waves * warp + 0.3 * warp).astype(np.float32), low, hsv(hue - 0.03, 0.25, 0.95))


def back_bricks(rng: Rng, size: int) -> Picture:
    brick = hsv(rng.uniform(0, 0.1), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.85))
    if rng.random() < 0.2:
        brick = random_colour(rng)
    picture = np.full((size, size, 3), hsv(0.1, 0.1, rng.uniform(0.2, 0.9)), np.uint8)
    height = max(4, int(size * rng.uniform(0.04, 0.14)))
    width, gap = int(height * rng.uniform(1.8, 3)), max(1, height // 8)
    for row, top in enumerate(range(-int(rng.integers(height)), size, height)):
        for left in range(-width + (row % 2) * width // 2, size, width):
            corner = (left + width - gap - 1, top + height - gap - 1)
            cv2.rectangle(picture, (left, top), corner, tone(brick, rng.uniform(0.8, 1.2)), -1)
    return picture


def back_pitch(rng: Rng, size: int) -> Picture:
    """A sports field: mown bands, a little grain, white lines, sometimes a stand at the top."""
    hue, value = rng.uniform(0.22, 0.42), rng.uniform(0.3, 0.75)
    low, high = hsv(hue, rng.uniform(0.4, 0.9), value), hsv(hue, rng.uniform(0.4, 0.9), value * rng.uniform(1.05, 1.4))
    u, _ = _turned(rng, size)
    bands = 0.5 + 0.5 * np.clip(np.sin(u * np.float32(math.tau * rng.uniform(1, 5))) * 5, -1, 1)
    picture = _mix(bands + np.float32(rng.uniform(0, 0.25)) * _blades(rng, size), low, high)
    white, thick = hsv(0, 0, rng.uniform(0.75, 1)), max(1, round(size * rng.uniform(0.006, 0.025)))
    for _ in range(int(rng.integers(0, 4))):
        if rng.random() < 0.3:
            centre, axes = rng.integers(0, size, 2).tolist(), (size * rng.uniform(0.1, 0.5, 2)).astype(int).tolist()
            cv2.ellipse(picture, centre, axes, rng.uniform(0, 180), 0, 360, white, thick, cv2.LINE_AA)
        else:
            ends = rng.integers(-size // 2, size + size // 2, 4).tolist()
            cv2.line(picture, ends[:2], ends[2:], white, thick, cv2.LINE_AA)
    if rng.random() < 0.2:
        top = int(size * rng.uniform(0.05, 0.3))
        picture[:top] = cv2.resize(back_noise(rng, size // 4), (size, size))[:top]
    return picture


Back = Callable[[Rng, int], Picture]
TEXTURES: dict[str, Back] = {
    "stripes": back_stripes,
    "checkerboard": back_checkerboard,
    "dots": back_dots,
    "noise": back_noise,
    "grass": back_grass,
    "water": back_water,
    "bricks": back_bricks,
    "pitch": back_pitch,
}
EMPTY: dict[str, Back] = {
    "plain": back_plain,
    "gradient": back_gradient,
    "clouds": back_clouds,
    "leaves": back_leaves,
    "lines": back_lines,
    "room": back_room,
}
BACKGROUNDS: dict[str, Back] = EMPTY | TEXTURES
BACKGROUND_NAMES = list(BACKGROUNDS)
# Behind objects, plain backgrounds and the sports field are more frequent than harsh textures.
BACKGROUND_ODDS = np.array([2, 3, 3, 3, 3, 3, 1, 0.7, 0.7, 0.7, 2, 1.2, 1, 4.0])
BACKGROUND_ODDS /= BACKGROUND_ODDS.sum()

OBJECT_NAMES = sorted(OBJECTS)
CLASS_NAMES = [*OBJECT_NAMES, *TEXTURES, "empty"]
CLASS_INDEX = {name: index for index, name in enumerate(CLASS_NAMES)}
# What framewise's users film most: more of it makes the features finer there.
FAVOURED = {"ball": 6.0, "person": 4.0, "foot": 3.0, "hand": 2.5}
OBJECT_ODDS = np.array([FAVOURED.get(name, 1.0) for name in OBJECT_NAMES])
OBJECT_ODDS /= OBJECT_ODDS.sum()


# ---------------------------------------------------------------------------------------------------------------------
# Scenes
# ---------------------------------------------------------------------------------------------------------------------

LARGEST_COUNT = 4


@dataclass
class Target:
    """Targets of a picture. If ``has_object`` or ``has_pair`` is false, the values below it are meaningless."""

    label: int
    background: int
    present: set[int] = field(default_factory=set)
    count: int = 0
    has_object: bool = False
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)  # centre x, centre y (-1..1), log of the size
    hue: tuple[float, float] = (0.0, 0.0)  # on the colour circle, shorter the greyer
    has_pair: bool = False
    touch: float = 0.0  # 1: the two objects touch; falls to 0 with the gap
    offset: tuple[float, float] = (0.0, 0.0)  # from the main object to the other one

    def row(self) -> Floats:
        """All targets as one row of numbers, with the columns of ``Columns``."""
        present = np.zeros(len(CLASS_NAMES), np.float32)
        present[list(self.present)] = 1
        rest = [
            self.label,
            self.background,
            self.count,
            self.has_object,
            *self.place,
            *self.hue,
            self.has_pair,
            self.touch,
            *self.offset,
        ]
        return np.concatenate([np.asarray(rest, np.float32), present])


class Columns:
    LABEL, BACKGROUND, COUNT, HAS_OBJECT = 0, 1, 2, 3
    PLACE, HUE = slice(4, 7), slice(7, 9)
    HAS_PAIR, TOUCH, OFFSET = 9, 10, slice(11, 13)
    PRESENT = slice(13, 13 + len(CLASS_NAMES))


@dataclass
class Placement:
    kind: str
    x: float  # centre, 0..1 of the side
    y: float
    size: float  # of the side
    angle: float  # radians
    inks: Inks
    seed: int  # so that a second drawing of the same object is the same


def _choose_inks(rng: Rng, ground: Floats) -> Inks:
    """Colours that mostly stand out from the background."""
    main = random_colour(rng)
    for _ in range(4):
        if np.abs(ground - np.asarray(main)).sum() > 110:
            break
        main = random_colour(rng)
    second = random_colour(rng)
    return Inks(main, second, hsv(rng.random(), 0.4, rng.uniform(0.05, 0.25)))


def _place(rng: Rng, canvas: Picture, kind: str, size: float, centre: Point | None = None) -> Placement:
    if centre is None:
        margin = min(0.5, 0.42 * size + 0.02)
        x, y = rng.uniform(margin, 1 - margin, 2)
    else:
        x, y = centre
    side = canvas.shape[0]
    reach = max(2, int(side * size / 2))
    column, row = int(np.clip(x * side, 0, side - 1)), int(np.clip(y * side, 0, side - 1))
    around = canvas[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach]
    angle = rng.normal(0, 0.2) if rng.random() < 0.75 else rng.uniform(0, math.tau)
    inks = _choose_inks(rng, around[::3, ::3].reshape(-1, 3).mean(0).astype(np.float32))
    return Placement(kind, x, y, size, angle, inks, int(rng.integers(2**31)))


def _matrix(placement: Placement, rng: Rng, side: int) -> tuple[Floats, float]:
    radius = placement.size * side / 2
    c, s = math.cos(placement.angle), math.sin(placement.angle)
    rigid = 0.03 if placement.kind in ("ball", "clock", "ring") else 0.15
    wide, high = radius * (1 + rng.uniform(-rigid, rigid)), radius * (1 + rng.uniform(-rigid, rigid))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    matrix = [[flip * wide * c, -high * s, placement.x * side], [flip * wide * s, high * c, placement.y * side]]
    return np.asarray(matrix, np.float32), radius


def _light(rng: Rng, part: Floats, round_body: bool) -> Floats:
    """Shade an object's patch from one side, or a round body from a highlight outwards."""
    height, width = part.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle, strength = rng.uniform(0, math.tau), rng.uniform(0.05, 0.5)
    dx, dy = math.cos(angle), math.sin(angle)
    shade: Floats
    if round_body:
        shade = 1.15 - strength * ((x - 0.4 * dx) ** 2 + (y - 0.4 * dy) ** 2)
    else:
        shade = 1 + strength * 0.8 * (x * dx + y * dy)
    return np.asarray(part * shade[..., None], np.float32)


def paint(canvas: Picture, placement: Placement, effects: bool = True) -> Picture:
    """Draw one object onto the canvas, with light, grain and shadow.  Returns its mask."""
    rng = np.random.default_rng(placement.seed)
    side = canvas.shape[0]
    layer, mask = canvas.copy(), np.zeros((side, side), np.uint8)
    matrix, radius = _matrix(placement, rng, side)
    OBJECTS[placement.kind](Pen(layer, mask, matrix, radius), rng, placement.inks)
    left, top, width, height = cv2.boundingRect(mask)
    if not width or not effects:
        canvas[:] = layer
        return mask
    if rng.random() < 0.35:
        _shadow(canvas, mask, rng, radius)
    window = np.s_[top : top + height, left : left + width]
    part = layer[window].astype(np.float32)
    if rng.random() < 0.7:
        part = _light(rng, part, placement.kind in ("ball", "face", "mushroom"))
    if rng.random() < 0.3:
        part += rng.normal(0, rng.uniform(3, 18), (height, width, 1)).astype(np.float32)
    alpha = mask[window].astype(np.float32)[..., None] / 255
    blended = canvas[window] * (1 - alpha) + part * alpha
    canvas[window] = np.clip(blended, 0, 255).astype(np.uint8)
    return mask


def _shadow(canvas: Picture, mask: Picture, rng: Rng, radius: float) -> None:
    dx, dy = rng.uniform(-0.35, 0.35) * radius, rng.uniform(0.05, 0.35) * radius
    side = canvas.shape[0]
    moved = cv2.warpAffine(mask, np.array([[1, 0, dx], [0, 1, dy]], np.float32), (side, side))
    width = max(1, int(radius * 0.2)) | 1
    dark = cv2.blur(moved, (width, width)).astype(np.float32) * np.float32(rng.uniform(0.2, 0.6) / 255)
    canvas[:] = (canvas * (1 - dark[..., None])).astype(np.uint8)


def _kind(rng: Rng, other_than: str = "") -> str:
    while True:
        kind = OBJECT_NAMES[int(rng.choice(len(OBJECT_NAMES), p=OBJECT_ODDS))]
        if kind != other_than:
            return kind


def _size(rng: Rng, kind: str, smallest: float) -> float:
    smallest = 0.6 * smallest if kind == "ball" else smallest
    return float(np.exp(rng.uniform(math.log(smallest), math.log(0.85))))


def _hue_of(colour: Colour) -> tuple[float, float]:
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in colour))
    strength = saturation * min(1.0, 2 * value)
    return strength * math.cos(math.tau * hue), strength * math.sin(math.tau * hue)


def _describe(target: Target, placement: Placement) -> None:
    target.label = CLASS_INDEX[placement.kind]
    target.present.add(target.label)
    target.has_object = True
    target.place = (2 * placement.x - 1, 2 * placement.y - 1, math.log(placement.size / 0.3))
    target.hue = _hue_of(placement.inks.main)


def _distractors(rng: Rng, canvas: Picture, target: Target, largest: float, kind: str) -> None:
    for _ in range(int(rng.integers(1, 4))):
        size = largest * rng.uniform(0.2, 0.5)
        if size >= 0.04:
            extra = _place(rng, canvas, _kind(rng, kind), size)
            paint(canvas, extra)
            target.present.add(CLASS_INDEX[extra.kind])


def scene_group(rng: Rng, canvas: Picture, target: Target, smallest: float) -> None:
    """One to four objects of one kind, perhaps with small ones of other kinds behind."""
    kind = _kind(rng)
    count = 1 if rng.random() < 0.65 else int(rng.integers(2, LARGEST_COUNT + 1))
    size = _size(rng, kind, smallest)
    size = size if count == 1 else min(size, 0.4)
    if rng.random() < 0.35:
        _distractors(rng, canvas, target, size, kind)
    first = _place(rng, canvas, kind, size)
    placements = [first]
    for _ in range(20 * count):
        if len(placements) == count:
            break
        extra = _place(rng, canvas, kind, size * rng.uniform(0.7, 1.0))
        if all(math.hypot(extra.x - p.x, extra.y - p.y) > 0.45 * (extra.size + p.size) for p in placements):
            placements.append(extra)
    for placement in placements:
        paint(canvas, placement)
    target.count = len(placements)
    _describe(target, first)


def _pair_kinds(rng: Rng) -> tuple[str, str]:
    if rng.random() < 0.4:  # a body part and a ball: the most important contact
        return str(rng.choice(["foot", "person", "hand", "face"], p=[0.4, 0.35, 0.15, 0.1])), "ball"
    first = _kind(rng)
    return first, _kind(rng, first)


def _gap(mask: Picture, other: Picture) -> float:
    """Pixels between two masks, 0 where they touch."""
    away = cv2.distanceTransform((mask <= 127).astype(np.uint8), cv2.DIST_L2, 3)
    inside = other > 127
    return float(away[inside].min()) if inside.any() and (mask > 127).any() else float(mask.shape[0])


def scene_pair(rng: Rng, canvas: Picture, target: Target, smallest: float) -> None:
    """A large object and a smaller one beside it: touching, almost touching, or well apart."""
    side = canvas.shape[0]
    kind, other_kind = _pair_kinds(rng)
    size = float(np.exp(rng.uniform(math.log(max(0.2, smallest)), math.log(0.75))))
    main = _place(rng, canvas, kind, size)
    ratio = rng.uniform(0.18, 0.6) if other_kind == "ball" else rng.uniform(0.3, 0.85)
    small = max(0.06, size * ratio)
    angle = rng.uniform(0, math.tau)
    if other_kind == "ball" and kind != "face" and rng.random() < 0.6:
        angle = rng.choice([0.0, math.pi]) + rng.normal(0.5, 0.4) * rng.choice([-1, 1])  # low, at either side
    wanted = 0.0 if rng.random() < 0.45 else rng.uniform(0.01, 0.35)
    mask = paint(canvas, main)
    reach = 0.5 * (size + small) + wanted
    dx, dy = math.cos(angle), math.sin(angle)
    other = _place(rng, canvas, other_kind, small, (main.x + dx * reach, main.y + dy * reach))
    # Objects seldom fill their square: measure the actual gap, and adjust it to the wanted one.
    for _ in range(3):
        trial = paint(canvas.copy(), other, effects=False)
        excess = _gap(mask, trial) / side - wanted
        if excess < 0.008:
            break
        other.x, other.y = other.x - dx * excess, other.y - dy * excess
    other.x, other.y = float(np.clip(other.x, 0.02, 0.98)), float(np.clip(other.y, 0.02, 0.98))
    gap = _gap(mask, paint(canvas, other)) / side
    _describe(target, main)
    target.present.add(CLASS_INDEX[other_kind])
    target.count = 2
    target.has_pair = True
    target.touch = math.exp(-max(0.0, gap - 0.006) / 0.03)
    target.offset = (2 * (other.x - main.x), 2 * (other.y - main.y))


def _spoil(rng: Rng, picture: Picture) -> Picture:
    """Degrade a picture like a camera and a codec."""
    side = picture.shape[0]
    if rng.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), side * rng.uniform(0.001, 0.009)), np.uint8)
    elif rng.random() < 0.12:
        length = int(rng.integers(3, max(4, side // 18)))
        kernel = np.zeros((length, length), np.float32)
        if rng.random() < 0.5:
            kernel[length // 2] = 1 / length
        else:
            kernel[:, length // 2] = 1 / length
        picture = np.asarray(cv2.filter2D(picture, -1, kernel), np.uint8)
    if rng.random() < 0.25:
        grain = rng.normal(0, rng.uniform(2, 16), picture.shape).astype(np.float32)
        picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        done, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 92))])
        if done:
            picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return picture


def _uneven_light(rng: Rng, picture: Picture) -> Picture:
    x, y = _grid(picture.shape[0])
    slope = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
    shade = 1 + slope[0] * (x - 0.5) * 2 + slope[1] * (y - 0.5) * 2
    return np.asarray(np.clip(picture * shade[..., None], 0, 255), np.uint8)


def render(rng: Rng, size: int, smallest: float) -> tuple[Picture, Target]:
    """One picture (RGB) and its targets. smallest: minimum size of the main object as a share of the side."""
    scene = rng.random()
    if scene < 0.14:
        name = str(rng.choice(list(TEXTURES)))
        target = Target(CLASS_INDEX[name], BACKGROUND_NAMES.index(name))
        canvas = TEXTURES[name](rng, size)
    elif scene < 0.2:
        name = str(rng.choice(list(EMPTY)))
        target = Target(CLASS_INDEX["empty"], BACKGROUND_NAMES.index(name))
        canvas = EMPTY[name](rng, size)
    else:
        ground = int(rng.choice(len(BACKGROUND_NAMES), p=BACKGROUND_ODDS))
        target = Target(0, ground)
        canvas = BACKGROUNDS[BACKGROUND_NAMES[ground]](rng, size)
        if rng.random() < 0.35:
            canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), size * rng.uniform(0.003, 0.025)), np.uint8)
        if scene < 0.65:
            scene_group(rng, canvas, target, smallest)
        else:
            scene_pair(rng, canvas, target, smallest)
    if rng.random() < 0.3:
        canvas = _uneven_light(rng, canvas)
    return _spoil(rng, canvas), target


def render_chunk(job: tuple[int, int, int, float]) -> tuple[Picture, Floats]:
    """Render ``count`` pictures of ``size`` pixels, determined by the seed alone."""
    seed, count, size, smallest = job
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    pictures = np.empty((count, size, size, 3), np.uint8)
    rows = []
    for index in range(count):
        pictures[index], target = render(rng, size, smallest)
        rows.append(target.row())
    return pictures, np.stack(rows)


def render_pool(
    executor: ProcessPoolExecutor, seed: int, count: int, size: int, smallest: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Render many pictures by the worker processes; the result does not depend on their number."""
    chunk = 256
    starts = range(0, count, chunk)
    jobs = [(seed * 1_000_003 + start, min(chunk, count - start), size, smallest) for start in starts]
    pictures, rows = np.empty((count, size, size, 3), np.uint8), []
    parts = tqdm(executor.map(render_chunk, jobs), total=len(jobs), desc=f"render {count} at {size}", mininterval=5)
    for index, (part, targets) in enumerate(parts):
        pictures[index * chunk : index * chunk + len(part)] = part
        rows.append(targets)
    return torch.from_numpy(pictures), torch.from_numpy(np.concatenate(rows))


# ---------------------------------------------------------------------------------------------------------------------
# The network
# ---------------------------------------------------------------------------------------------------------------------


def build_network(classes: int = len(CLASS_NAMES)) -> nn.Module:
    """Build the architecture with random weights."""
    prepare_ultralytics(Path(tempfile.gettempdir()))
    from ultralytics.nn.tasks import ClassificationModel

    network: nn.Module = ClassificationModel(ARCHITECTURE, nc=classes, verbose=False)
    return network


def features_of(network: nn.Module, pictures: Tensor) -> Tensor:
    """Features: the input of the last linear layer."""
    layers: Any = network.model
    inner = pictures
    for layer in layers[:-1]:
        inner = layer(inner)
    head = layers[-1]
    return torch.flatten(head.pool(head.conv(inner)), 1)


class Parts:
    """Places of auxiliary targets in the auxiliary layer's output."""

    PRESENT = slice(0, len(CLASS_NAMES))
    PLACE = slice(PRESENT.stop, PRESENT.stop + 3)
    HUE = slice(PLACE.stop, PLACE.stop + 2)
    TOUCH = HUE.stop
    OFFSET = slice(TOUCH + 1, TOUCH + 3)
    COUNT = slice(OFFSET.stop, OFFSET.stop + LARGEST_COUNT + 1)
    BACKGROUND = slice(COUNT.stop, COUNT.stop + len(BACKGROUND_NAMES))
    WIDTH = BACKGROUND.stop


def _mean_where(values: Tensor, condition: Tensor) -> Tensor:
    return (values * condition).sum() / condition.sum().clamp(min=1)


def loss_of(logits: Tensor, auxiliary: Tensor, rows: Tensor) -> Tensor:
    """Class loss plus the loss of the auxiliary layer."""
    has_object, has_pair = rows[:, Columns.HAS_OBJECT], rows[:, Columns.HAS_PAIR]
    loss = F.cross_entropy(logits, rows[:, Columns.LABEL].long(), label_smoothing=0.05)
    present = F.binary_cross_entropy_with_logits(auxiliary[:, Parts.PRESENT], rows[:, Columns.PRESENT])
    place = F.smooth_l1_loss(auxiliary[:, Parts.PLACE], rows[:, Columns.PLACE], reduction="none").sum(1)
    hue = F.mse_loss(auxiliary[:, Parts.HUE], rows[:, Columns.HUE], reduction="none").sum(1)
    touch = F.binary_cross_entropy_with_logits(auxiliary[:, Parts.TOUCH], rows[:, Columns.TOUCH], reduction="none")
    offset = F.smooth_l1_loss(auxiliary[:, Parts.OFFSET], rows[:, Columns.OFFSET], reduction="none").sum(1)
    count = F.cross_entropy(auxiliary[:, Parts.COUNT], rows[:, Columns.COUNT].long())
    background = F.cross_entropy(auxiliary[:, Parts.BACKGROUND], rows[:, Columns.BACKGROUND].long())
    loss = loss + 10 * present + 0.3 * count + 0.2 * background
    loss = loss + _mean_where(place + 0.5 * hue, has_object)
    return loss + _mean_where(touch + 0.5 * offset, has_pair)


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """Some passes over pictures scaled to ``pixels``; a new pool is rendered if ``pictures`` is not 0."""

    pixels: int
    passes: int
    until: float  # the share of the time limit, if there is one, that is over when the stage ends
    pictures: int = 0
    drawn_at: int = 0
    smallest: float = 0.1  # a main object's least size, as a share of the side


# Small pictures of large objects first: they are cheapest, and an untrained network hardly learns from objects of a few
# pixels.  The last stage has the size that framewise uses.
STAGES = (
    Stage(64, 6, 0.27, 20_000, 64, 0.4),
    Stage(112, 4, 0.63, 18_000, 160),
    Stage(160, 2, 0.83),
    Stage(IMAGE_SIZE, 2, 1.0, 7_000, IMAGE_SIZE),
)
BATCH = 64


def to_floats(pictures: Tensor, pixels: int) -> Tensor:
    """Convert uint8 pictures, channels last, to the network's input."""
    floats = pictures.permute(0, 3, 1, 2).float().div_(255)
    if floats.shape[-1] != pixels:
        floats = F.interpolate(floats, size=(pixels, pixels), mode="bilinear", antialias=True)
    return floats.contiguous(memory_format=torch.channels_last)


def augment(pictures: Tensor, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror some pictures, and vary light, contrast, tint and grain, so that a pool can be passed several times."""
    count = len(pictures)

    def spread(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.rand(count, channels, 1, 1, generator=generator) * (high - low) + low

    mirrored = torch.rand(count, generator=generator) < 0.5
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
    rows = rows.clone()
    for column in (Columns.PLACE.start, Columns.OFFSET.start):
        rows[mirrored, column] *= -1
    mean = pictures.mean((2, 3), keepdim=True)
    contrast, light = spread(0.75, 1.25), spread(0.75, 1.25) * spread(0.94, 1.06, 3)
    pictures = pictures * contrast + mean * (light - contrast)
    # Grey grain: drawing one channel of normal numbers instead of three saves a tenth of the whole training time.
    grain = torch.randn((count, 1, *pictures.shape[2:]), generator=generator) * spread(-0.03, 0.03).clamp_(min=0)
    pictures = pictures.add_(grain).clamp_(0, 1)
    return pictures.contiguous(memory_format=torch.channels_last), rows


def batches(rows: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(len(rows), generator=generator)
    yield from order[: len(order) // BATCH * BATCH].split(BATCH)


def settle_statistics(network: nn.Module, pictures: Tensor) -> None:
    """Recompute the statistics of batch normalisation, in full precision and at the final size, by plain averaging."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    with torch.no_grad():
        for part in tqdm(pictures.split(BATCH), desc="batch statistics", mininterval=5):
            features_of(network, to_floats(part, IMAGE_SIZE))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    network.eval()


class Trainer:
    """Network, auxiliary layer, optimiser, and progress of the training."""

    def __init__(self, seed: int, peak: float, steps: int, minutes: float | None):
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.network = build_network().train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.auxiliary = nn.Linear(FEATURES, Parts.WIDTH)
        self.head: Any = self.network.model[-1]  # type: ignore[index]
        self.parameters = [*self.network.parameters(), *self.auxiliary.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=peak, weight_decay=0.03)
        self._peak, self._steps, self._step = peak, steps, 0
        self._start, self._seconds = time.monotonic(), minutes * 60 if minutes else math.inf

    def late(self, until: float) -> bool:
        """True if this share of the time limit has passed."""
        return time.monotonic() - self._start > until * self._seconds

    def _rate(self) -> float:
        """Learning rate: linear warm-up, then a half cosine down to almost 0, by steps or by time, whichever is further."""
        warm = max(1, min(300, self._steps // 10))
        if self._step < warm:
            return self._peak * (self._step + 1) / warm
        done = min(1.0, max(self._step / self._steps, (time.monotonic() - self._start) / self._seconds))
        return self._peak * (0.002 + 0.998 * 0.5 * (1 + math.cos(math.pi * done)))

    def step(self, pictures: Tensor, rows: Tensor) -> tuple[float, float]:
        """Do one step; returns the loss and the share of correct classes."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        inputs, targets = augment(pictures, rows, self.generator)
        with torch.autocast("cpu", torch.bfloat16):
            features = features_of(self.network, inputs)
        features = features.float()
        logits = self.head.linear(features)
        loss = loss_of(logits, self.auxiliary(features), targets)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimiser.step()
        self._step += 1
        hits = (logits.detach().argmax(1) == targets[:, Columns.LABEL]).float().mean()
        return float(loss.detach()), float(hits)

    def stage(self, stage: Stage, pictures: Tensor, rows: Tensor) -> None:
        for turn in range(stage.passes):
            title = f"{stage.pixels} px, pass {turn + 1} of {stage.passes}"
            bar = tqdm(batches(rows, self.generator), total=len(rows) // BATCH, mininterval=5, desc=title)
            loss, right = 0.0, 0.0
            for index, chosen in enumerate(bar):
                if self.late(stage.until):
                    bar.close()
                    return
                now = self.step(to_floats(pictures[chosen], stage.pixels), rows[chosen])
                share = max(0.02, 1 / (index + 1))
                loss, right = loss + share * (now[0] - loss), right + share * (now[1] - right)
                bar.set_postfix(loss=f"{loss:.3f}", right=f"{right:.3f}", refresh=False)


def train(options: argparse.Namespace) -> nn.Module:
    """Train a network; returns it in eval mode."""
    counts, current = [], 0
    for stage in STAGES:
        current = max(2 * BATCH, int(stage.pictures * options.effort)) if stage.pictures else current
        counts.append(current)
    steps = sum(stage.passes * (count // BATCH) for stage, count in zip(STAGES, counts, strict=True))
    trainer = Trainer(options.seed, options.learning_rate, steps, options.minutes)
    pictures, rows = torch.empty(0), torch.empty(0)
    # Workers are spawned instead of forked, because torch's threads do not survive a fork.
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as executor:
        for number, (stage, count) in enumerate(zip(STAGES, counts, strict=True)):
            if stage.pictures:
                seed = options.seed * 100 + number + 1
                pictures, rows = render_pool(executor, seed, count, stage.drawn_at, stage.smallest)
            trainer.stage(stage, pictures, rows)
            if options.checkpoint is not None:  # so that an interrupted run leaves a result
                torch.save(trainer.network.state_dict(), options.checkpoint)
    settle_statistics(trainer.network, pictures[:2048])
    return trainer.network


# ---------------------------------------------------------------------------------------------------------------------
# Saving and loading
# ---------------------------------------------------------------------------------------------------------------------


def save(network: nn.Module, folder: Path, options: argparse.Namespace) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for name, value in network.state_dict().items()
    }
    path = folder / f"{STEM}.safetensors"
    save_file(state, path)
    path.chmod(0o644)  # written readable for the owner only, but installed for everybody
    write_card(
        folder,
        {
            "architecture": ARCHITECTURE,
            "names": CLASS_NAMES,
            "image_size": IMAGE_SIZE,
            "trained_on": "pictures rendered by tools/train_backbone.py, and nothing else; "
            f"random initialisation, seed {options.seed}, effort {options.effort:g}"
            + (f", cut short after {options.minutes:g} minutes" if options.minutes else ""),
            "held_out_accuracy": None,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
    )


def write_card(folder: Path, card: dict[str, Any]) -> None:
    (folder / f"{STEM}.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load (network with the saved weights, in eval mode, card)."""
    from safetensors.torch import load_file

    card: dict[str, Any] = json.loads((folder / f"{STEM}.json").read_text(encoding="utf-8"))
    path = folder / f"{STEM}.safetensors"
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["sha256"]:
        raise ValueError(f"{path} does not match the checksum in its card")
    network = build_network(len(card["names"]))
    state = {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
    network.load_state_dict(state)
    return network.eval(), card


# ---------------------------------------------------------------------------------------------------------------------
# Checks: held-out accuracy, and linear probes of the features
# ---------------------------------------------------------------------------------------------------------------------
#
# The probes' frames are drawn by separate code, not by that of the training scenes, so that a probe measures more than
# memorisation of the training pictures.


def _probe_pitch(rng: Rng, width: int, height: int) -> Picture:
    green = np.array([rng.uniform(20, 90), rng.uniform(90, 170), rng.uniform(20, 80)])
    frame = np.tile(green, (height, width, 1))
    edges = np.cumsum(rng.uniform(25, 70, 20)).astype(int)
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        frame[:, left:right] *= rng.uniform(1.05, 1.2)
    frame += rng.normal(0, rng.uniform(2, 9), (height, width, 1))
    picture = np.clip(frame, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        ends = [int(rng.integers(width)), 0, int(rng.integers(width)), height]
        if rng.random() < 0.5:
            ends = [0, int(rng.integers(height)), width, int(rng.integers(height))]
        cv2.line(picture, ends[:2], ends[2:], (235, 240, 235), int(rng.integers(2, 6)), cv2.LINE_AA)
    if rng.random() < 0.4:
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(picture, centre, int(height * rng.uniform(0.2, 0.5)), (235, 240, 235), 3, cv2.LINE_AA)
    return picture


def _probe_ball(rng: Rng, picture: Picture, centre: Point, radius: float) -> None:
    spot = (round(centre[0]), round(centre[1]))
    cv2.circle(picture, spot, round(radius), (238, 238, 234), -1, cv2.LINE_AA)
    turn = rng.uniform(0, math.tau)
    for angle in turn + np.arange(5) * math.tau / 5:
        at = (round(centre[0] + 0.62 * radius * math.cos(angle)), round(centre[1] + 0.62 * radius * math.sin(angle)))
        cv2.circle(picture, at, max(1, round(radius * 0.2)), (40, 40, 45), -1, cv2.LINE_AA)
    cv2.ellipse(picture, spot, (round(radius * 0.9), round(radius * 0.9)), 0, 20, 160, (150, 150, 150), 1, cv2.LINE_AA)


def _probe_player(rng: Rng, picture: Picture, foot: Point, height: float) -> None:
    """Draw a player made of capsules, standing with one foot at the given place."""
    shirt, shorts = (int(v) for v in rng.integers(0, 256, 2)), int(rng.integers(0, 256))
    colour = (*shirt, int(rng.integers(0, 256)))
    x, y = foot
    hip = (round(x + height * rng.uniform(-0.12, 0.12)), round(y - 0.48 * height))
    thick = max(2, round(0.08 * height))
    other = (round(2 * hip[0] - x), round(y - height * rng.uniform(0, 0.12)))
    for end in ((round(x), round(y)), other):
        cv2.line(picture, hip, end, (190, 140, 105), thick, cv2.LINE_AA)
        cv2.circle(picture, end, max(2, thick // 2 + 1), (30, 30, 30), -1, cv2.LINE_AA)
    neck = (hip[0], round(hip[1] - 0.34 * height))
    cv2.line(picture, hip, neck, colour, round(2.2 * thick), cv2.LINE_AA)
    cv2.circle(picture, hip, thick, (shorts, shorts, shorts), -1, cv2.LINE_AA)
    cv2.circle(picture, (neck[0], round(neck[1] - 0.12 * height)), round(1.1 * thick), (190, 140, 105), -1, cv2.LINE_AA)


def _probe_finish(rng: Rng, picture: Picture) -> Image.Image:
    return Image.fromarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.3)))


def probe_presence(rng: Rng, positive: bool) -> Image.Image:
    """A pitch with players, with or without a small ball."""
    width, height = 480, 360
    picture = _probe_pitch(rng, width, height)
    for _ in range(int(rng.integers(0, 3))):
        _probe_player(rng, picture, (rng.uniform(80, 400), rng.uniform(150, 340)), rng.uniform(60, 150))
    # The classifier's preprocessing keeps only the central square of a frame.
    centre = (rng.uniform(95, 385), rng.uniform(35, 325))
    if positive:
        _probe_ball(rng, picture, centre, height * rng.uniform(0.04, 0.08))
    return _probe_finish(rng, picture)


def probe_contact(rng: Rng, positive: bool) -> Image.Image:
    """A boot below a shin, and a ball that touches the boot or lies apart; both are always in the picture."""
    width, height = 480, 360
    picture = _probe_pitch(rng, width, height)
    side, long = rng.choice([-1, 1]), height * rng.uniform(0.16, 0.26)
    toe = np.array([rng.uniform(190, 290), rng.uniform(190, 290)])
    heel = toe - (side * long, rng.uniform(-8, 8))
    ankle = heel + (side * 0.2 * long, -0.25 * long)
    knee = ankle + (rng.uniform(-0.6, 0.6) * long, -1.6 * long)
    thick = round(0.33 * long)
    sock, boot = rng.integers(0, 256, 3).tolist(), rng.integers(0, 120, 3).tolist()
    cv2.line(picture, knee.astype(int).tolist(), ankle.astype(int).tolist(), sock, thick, cv2.LINE_AA)
    cv2.line(picture, heel.astype(int).tolist(), toe.astype(int).tolist(), boot, thick, cv2.LINE_AA)
    radius = height * rng.uniform(0.05, 0.09)
    gap = 0.0 if positive else height * rng.uniform(0.06, 0.25)
    angle = rng.uniform(-1.0, 0.5)
    reach = thick / 2 + radius + gap
    centre = toe + (side * reach * math.cos(angle), reach * math.sin(angle))
    _probe_ball(rng, picture, (float(centre[0]), float(centre[1])), radius)
    return _probe_finish(rng, picture)


def embed(network: nn.Module, pictures: list[Image.Image]) -> tuple[Tensor, Tensor]:
    """Features and predicted classes, with Ultralytics' own preprocessing."""
    prepare_ultralytics(Path(tempfile.gettempdir()))
    from ultralytics.data.augment import classify_transforms

    transform = classify_transforms(IMAGE_SIZE)
    head: Any = network.model[-1]  # type: ignore[index]
    found, classes = [], []
    with torch.no_grad():
        for start in range(0, len(pictures), BATCH):
            inputs = torch.stack([transform(picture) for picture in pictures[start : start + BATCH]])
            features = features_of(network, inputs.contiguous(memory_format=torch.channels_last))
            found.append(features)
            classes.append(head.linear(features).argmax(1))
    return torch.cat(found), torch.cat(classes)


def _ridge(train_x: Tensor, train_y: Tensor, test_x: Tensor) -> Tensor:
    """Scores of ridge regression; the penalty minimises the leave-one-out error on the training part."""
    mean, deviation = train_x.mean(0), train_x.std(0)
    live = deviation > 1e-7 * mean.abs().clamp(min=1e-6)
    train_x = (train_x - mean)[:, live] / deviation[live]
    test_x = (test_x - mean)[:, live] / deviation[live]
    centre = train_y.mean()
    values, vectors = torch.linalg.eigh(train_x @ train_x.T)
    best, answer = math.inf, torch.zeros(len(test_x), dtype=train_x.dtype)
    for penalty in (1e0, 1e1, 1e2, 1e3, 1e4, 1e5):
        inverse = (vectors / (values.clamp(min=0) + penalty)) @ vectors.T
        dual = inverse @ (train_y - centre)
        error = float(((dual / inverse.diagonal()) ** 2).mean())
        if error < best:
            best, answer = error, test_x @ (train_x.T @ dual) + centre
    return answer


def probe_accuracy(features: Tensor, labels: Tensor, repeats: int = 5, folds: int = 5) -> float:
    """Cross-validated accuracy of a linear probe."""
    generator = torch.Generator().manual_seed(0)
    features, signs, right = features.double(), labels.double() * 2 - 1, 0
    for _ in range(repeats):
        order = torch.randperm(len(signs), generator=generator)
        for fold in range(folds):
            held = order[fold::folds]
            rest = torch.cat([order[other::folds] for other in range(folds) if other != fold])
            scores = _ridge(features[rest], signs[rest], features[held])
            right += int(((scores > 0) == (signs[held] > 0)).sum())
    return right / (repeats * len(signs))


PROBES: dict[str, Callable[[Rng, bool], Image.Image]] = {
    "a small ball is in the picture": probe_presence,
    "the ball touches the boot": probe_contact,
}


def untrained(seed: int, pictures: Tensor | None) -> nn.Module:
    """A random network; with pictures, its batch statistics are fitted to them."""
    torch.manual_seed(seed)
    network = build_network().eval()
    if pictures is not None:
        settle_statistics(network, pictures)
    return network


def check(folder: Path, held_out: int, frames: int, workers: int) -> None:
    """Load the saved files as a user would, measure, print, and note the accuracy in the card."""
    network, card = load(folder)
    size = (folder / f"{STEM}.safetensors").stat().st_size
    print(f"{STEM}.safetensors: {size:,} bytes, {len(card['names'])} classes")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        drawn, rows = render_pool(executor, 987_654, held_out, 256)
    _, predicted = embed(network, [Image.fromarray(picture) for picture in drawn.numpy()])
    labels = rows[:, Columns.LABEL].long()
    accuracy = float((predicted == labels).float().mean())
    print(f"held-out accuracy, {held_out} pictures, eval mode, {IMAGE_SIZE} px: {accuracy:.4f}")
    by_class = {
        name: float((predicted == labels)[labels == index].float().mean())
        for index, name in enumerate(card["names"])
        if bool((labels == index).any())
    }
    weakest = sorted(by_class, key=by_class.__getitem__)[:8]
    print("weakest: " + ", ".join(f"{name} {by_class[name]:.2f}" for name in weakest))
    card["held_out_accuracy"] = round(accuracy, 4)
    write_card(folder, card)

    plain = [untrained(seed, None) for seed in (1, 2, 3)]
    settled = [untrained(seed, drawn[:256]) for seed in (1, 2, 3)]
    for name, draw in PROBES.items():
        rng = np.random.default_rng(4711)
        pictures = [draw(rng, index % 2 == 0) for index in range(frames)]
        truth = torch.arange(frames) % 2 == 0
        ours = probe_accuracy(embed(network, pictures)[0], truth)
        bare = [probe_accuracy(embed(other, pictures)[0], truth) for other in plain]
        normed = [probe_accuracy(embed(other, pictures)[0], truth) for other in settled]
        print(
            f"linear probe, {name} ({frames} frames): {ours:.4f}; untrained networks {_listed(bare)}, "
            f"with settled batch statistics {_listed(normed)}"
        )


def _listed(values: list[float]) -> str:
    return "/".join(f"{value:.4f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder for the two files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effort", type=float, default=1.0, help="scales the number of training pictures")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the highest one reached")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--minutes", type=float, help="cut the stages short so that training takes no longer than this")
    parser.add_argument("--checkpoint", type=Path, help="file for the state after each stage")
    parser.add_argument("--held-out", type=int, default=3000, help="pictures for the held-out accuracy")
    parser.add_argument("--probe-frames", type=int, default=400, help="frames for each probe")
    parser.add_argument("--check-only", action="store_true", help="check the saved files; do not train")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = time.monotonic()
    if not options.check_only:
        network = train(options)
        save(network, options.output, options)
        print(f"trained and saved after {(time.monotonic() - start) / 60:.1f} minutes")
    check(options.output, options.held_out, options.probe_frames, options.workers)
    print(f"done after {(time.monotonic() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
