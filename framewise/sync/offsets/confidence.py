"""Confidence of an answer: the share of similar answers that are right, learned from rendered recordings with known offsets.

From 0.8 it is excellent, from 0.5 good, from 0.2 fair, below that poor. The weights come from
``python -m tools.sync_benchmark --fit``, those for pictures with ``--strangers`` and a folder of unrelated real films.
"""

import math
from dataclasses import dataclass

from framewise.sync.offsets.correlate import Agreement
from framewise.sync.offsets.phat import AudioMatch

HIGHEST = 0.99  # an estimate is never a certainty


@dataclass(frozen=True)
class Logistic:
    """Logistic function of a weighted sum of features; weights (F,)."""

    bias: float
    weights: tuple[float, ...]

    def __call__(self, features: tuple[float, ...]) -> float:
        total = self.bias + sum(w * x for w, x in zip(self.weights, features, strict=True))
        return HIGHEST / (1 + math.exp(-max(-50.0, min(50.0, total))))


AUDIO = Logistic(-6.86, (1.50, 2.27, 2.93))
VISUAL = Logistic(-9.45, (0.63, 0.72, 4.63, 3.63))


def audio_features(heard: AudioMatch) -> tuple[float, ...]:
    """(logarithm of the peak's height, logarithm of its ratio to the next peak, share of chunks that agree)."""
    return (math.log(max(heard.score, 1.0)), math.log(min(max(heard.contrast, 0.5), 10.0)), heard.agreement)


def visual_features(found: Agreement) -> tuple[float, ...]:
    """(peak above chance, the same without its best moments, log ratio to the next peak, share of agreeing parts)."""
    contrast = math.log(min(max(found.contrast, 0.5), 2.0))  # capped: a short overlap has few other peaks
    return (min(found.surplus, 10.0), min(found.lasting, 12.0), contrast, found.agreement)


def audio_confidence(heard: AudioMatch) -> float:
    """Confidence of an answer of ``phat.match_audio``, 0 .. 1."""
    return AUDIO(audio_features(heard))


def visual_confidence(found: Agreement) -> float:
    """Confidence of an answer of ``correlate.correlate``, 0 .. 1: for pictures, and for any two signals of events."""
    return VISUAL(visual_features(found))


def together(audio: float, visual: float, agree: bool) -> float:
    """Combined confidence of two methods: if they agree, higher than either; if not, lower than the better one's, the more so
    the more confident the other is."""
    if agree:
        return min(HIGHEST, 1 - (1 - audio) * (1 - visual))
    return max(audio, visual) * (1 - min(audio, visual))
