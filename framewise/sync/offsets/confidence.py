"""Confidence of an answer: the share of answers like it that are right, learned from rendered recordings with a known truth.

0.8 and more is excellent, 0.5 good, 0.2 fair, less is poor. The numbers are those of ``python -m tools.sync_benchmark --fit``,
those of pictures with ``--strangers`` and a folder of real films that have nothing to do with each other.
"""

import math
from dataclasses import dataclass

from framewise.sync.offsets.correlate import Agreement
from framewise.sync.offsets.phat import Heard

HIGHEST = 0.99  # an estimate is never a certainty


@dataclass(frozen=True)
class Logistic:
    """The logistic function of a weighted sum of features; weights (F,)."""

    bias: float
    weights: tuple[float, ...]

    def __call__(self, features: tuple[float, ...]) -> float:
        total = self.bias + sum(w * x for w, x in zip(self.weights, features, strict=True))
        return HIGHEST / (1 + math.exp(-max(-50.0, min(50.0, total))))


AUDIO = Logistic(-6.86, (1.50, 2.27, 2.93))
VISUAL = Logistic(-9.45, (0.63, 0.72, 4.63, 3.63))


def audio_features(heard: Heard) -> tuple[float, ...]:
    """Logarithm of the peak's height, of what it is over the next, and the share of chunks that agree."""
    return (math.log(max(heard.score, 1.0)), math.log(min(max(heard.contrast, 0.5), 10.0)), heard.agreement)


def visual_features(found: Agreement) -> tuple[float, ...]:
    """The peak over chance, the same without its best moments, the logarithm of what it is over the next, parts that agree."""
    contrast = math.log(min(max(found.contrast, 0.5), 2.0))  # a short overlap has few other peaks: more than twice says no more
    return (min(found.surplus, 10.0), min(found.lasting, 12.0), contrast, found.agreement)


def audio_confidence(heard: Heard) -> float:
    """Confidence of an answer of ``phat.hear``, 0 .. 1."""
    return AUDIO(audio_features(heard))


def visual_confidence(found: Agreement) -> float:
    """Confidence of an answer of ``correlate.correlate``, 0 .. 1: for pictures, and any two signals of happenings."""
    return VISUAL(visual_features(found))


def together(audio: float, visual: float, agree: bool) -> float:
    """The confidence of two methods that were asked the same: two that agree are surer than each, two that do not are less sure
    than the better one, as much as the other is sure."""
    if agree:
        return min(HIGHEST, 1 - (1 - audio) * (1 - visual))
    return max(audio, visual) * (1 - min(audio, visual))
