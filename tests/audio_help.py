"""Rendered sound whose truth is known: noise, in which a tone rises now and then, or something knocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LABELS = ("Whistle", "Knock")
RATE = 22_050


@dataclass(frozen=True)
class Sound:
    """samples (N,) at RATE; truth: (label, first second, last second) of what is heard."""

    samples: npt.NDArray[np.float32]
    truth: list[tuple[str, float, float]]

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    def write(self, path: Path) -> Path:
        """As WAV, 16 bits, which browsers play."""
        import wave

        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((self.samples * 32767).astype("<i2").tobytes())
        return path

    def regions(self, from_name: str = "sounds", to_name: str = "audio") -> list[dict[str, Any]]:
        """The truth as the editor saves it."""
        return [
            {
                "id": f"a-{start}", "from_name": from_name, "to_name": to_name, "type": "labels", "origin": "manual",
                "original_length": self.seconds,
                "value": {"start": start, "end": end, "channel": 0, "labels": [label]},
            }
            for label, start, end in self.truth
        ]  # fmt: skip

    def marked(self, regions: Sequence[tuple[str, float, float]]) -> npt.NDArray[np.bool_]:
        """(N, 2) which labels are on in each hundredth of a second."""
        on = np.zeros((int(self.seconds * 100), len(LABELS)), dtype=bool)
        for label, start, end in regions:
            on[round(start * 100) : round(end * 100), LABELS.index(label)] = True
        return on


def sound(seed: int, seconds: float = 20.0) -> Sound:
    """Sound that begins with noise alone; something is heard every few seconds."""
    random = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    samples = random.normal(0, 0.01, len(times))
    truth, start = [], 1.0
    while (end := start + float(random.uniform(0.8, 2.0))) < seconds - 0.5:
        label, inside = LABELS[len(truth) % 2], (times >= start) & (times < end)
        if label == "Whistle":
            samples[inside] += 0.2 * np.sin(2 * np.pi * 2000 * times[inside])
        else:
            samples[inside] += 0.3 * random.normal(0, 1, inside.sum()) * ((times[inside] * 8) % 1 < 0.5)
        truth.append((label, round(start, 3), round(end, 3)))
        start = end + float(random.uniform(0.8, 2.0))
    return Sound(samples.clip(-1, 1).astype(np.float32), truth)


def audio_config(**parameters: str) -> str:
    attributes = "".join(f' {name}="{value}"' for name, value in ({"model_trainable": "true"} | parameters).items())
    labels = "".join(f'<Label value="{label}"/>' for label in LABELS)
    return (
        f'<View><Labels name="sounds" toName="audio"{attributes}>{labels}</Labels><Audio name="audio" value="$audio"/></View>'
    )


def audio_task(number: int, source: Path | str) -> dict[str, Any]:
    return {"id": number, "data": {"audio": str(source)}, "meta": {}, "annotations": [], "predictions": []}
