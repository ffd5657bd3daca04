"""Networks that see several pictures at once, of Hugging Face's library transformers: VideoMAE and V-JEPA 2.

A network is a folder with ``config.json``, ``model.safetensors`` and the processor's settings. Only these are read: no
pickles, no code of a repository, no download. transformers is imported here alone, when a network is loaded.
"""

import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import BackboneError, SettingsError, brief
from framewise.features.engine import Engine
from framewise.features.engines import Compute
from framewise.features.preprocessing import Resizing

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MAX_PICTURES = 64
DEFAULT_PICTURES = {"num_frames": 16, "frames_per_clip": 64}  # as of transformers
INSTALL = "pip install 'framewise[video]'"

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WindowKind:
    """A kind of network. network, processor: names of transformers' classes. settings: file of the processor's settings.
    pictures, size: names of the network's settings for the pictures of a window and the side of each. video: True if the
    processor is one of videos. options: of a call. per_second: pictures with which networks of the kind were trained. most:
    maximum number of pictures in a window; None if the network takes no other number than its own."""

    network: str
    processor: str
    settings: str
    pictures: str
    size: str
    video: bool
    options: Mapping[str, bool]
    per_second: float
    most: int | None = None


# By the model_type of their config.json. VideoMAE was trained on every fourth picture of about 30 a second (Tong et al. 2022,
# "VideoMAE"), V-JEPA 2 mostly on 16 pictures, four a second (Assran et al. 2025, "V-JEPA 2").
WINDOW_KINDS = {
    "videomae": WindowKind(
        "VideoMAEModel", "VideoMAEImageProcessor", "preprocessor_config.json", "num_frames", "image_size", False, {}, 7.5
    ),
    "vjepa2": WindowKind(
        "VJEPA2Model",
        "VJEPA2VideoProcessor",
        "video_preprocessor_config.json",
        "frames_per_clip",
        "crop_size",
        True,
        {"skip_predictor": True},
        4.0,
        16,
    ),
}


def has_transformers() -> bool:
    return importlib.util.find_spec("transformers") is not None


def window_files(folder: Path) -> list[Path]:
    """Files that determine the features of the network in a folder, the weights first. Raises BackboneError with those that are
    missing."""
    missing = [name for name in (WEIGHTS, CONFIG) if not (folder / name).is_file()]
    if missing:
        raise BackboneError(
            f"the folder {folder} has no {' and no '.join(missing)}; put config.json, model.safetensors and the processor's "
            "settings (preprocessor_config.json or video_preprocessor_config.json) of the repository there"
        )
    settings = folder / _kind(_described(folder)).settings
    return [folder / WEIGHTS, folder / CONFIG, *([settings] if settings.is_file() else [])]


def read_window_network(folder: Path) -> "WindowNetwork":
    """The network in a folder. Raises BackboneError, or the library's errors for files that do not fit each other.

    Import torchvision before, see ``backbone``.
    """
    described = _described(folder)
    kind = _kind(described)
    window_files(folder)
    if not has_transformers():
        raise BackboneError(f"a network of several pictures needs the library transformers; {INSTALL}")
    import torch

    transformers = importlib.import_module("transformers")

    there: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    pictures = _pictures(described, kind)
    network, told = getattr(transformers, kind.network).from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **there
    )
    if missing := sorted(told["missing_keys"]):
        raise BackboneError(f"{WEIGHTS}: expected weights of {kind.network}, found none of {brief(missing)}")
    processors = getattr(transformers, kind.processor)
    processor = processors.from_pretrained(folder, **there) if (folder / kind.settings).is_file() else processors()
    found = WindowNetwork(network.eval(), processor, kind, pictures)
    found(
        [found.prepare(np.zeros((found.side, found.side, 3), np.uint8))] * found.pictures
    )  # so that mismatches are found here
    return found


def window_seconds(folder: Path) -> float:
    """Length of a window of the network in a folder. Raises BackboneError."""
    described = _described(folder)
    kind = _kind(described)
    return _pictures(described, kind) / kind.per_second


def _pictures(described: Mapping[str, Any], kind: WindowKind) -> int:
    """Number of pictures in a window. Settings that equal the library's defaults may be left out."""
    pictures = described.get(kind.pictures, DEFAULT_PICTURES[kind.pictures])
    if not (isinstance(pictures, int) and 1 <= pictures <= MAX_PICTURES):
        raise BackboneError(f"{CONFIG}: expected {kind.pictures} of 1 to {MAX_PICTURES}, found {brief(pictures)}")
    return min(pictures, kind.most or pictures)


def _described(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BackboneError(f"{CONFIG}: expected JSON: {error}") from None
    return found if isinstance(found, Mapping) else {}


def _kind(described: Mapping[str, Any]) -> WindowKind:
    kind = WINDOW_KINDS.get(str(described.get("model_type")))
    if kind is None:
        known = " or ".join(map(repr, WINDOW_KINDS))
        raise BackboneError(f"{CONFIG}: expected the model_type {known}, found {brief(described.get('model_type'))}")
    return kind


class WindowNetwork:
    """A network that maps a window of pictures to one row of features, on the GPU if there is one. Thread-safe.

    pictures: number of pictures in a window. per_second: of these pictures. side: of each, in pixels.
    """

    def __init__(self, network: Any, processor: Any, kind: WindowKind, pictures: int):
        import torch

        self._torch, self._processor, self._kind = torch, processor, kind
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network = network.to(self._device)
        self.pictures, self.per_second = pictures, kind.per_second
        self.side = int(getattr(network.config, kind.size))

    def prepare(self, image: Image) -> Any:
        """The network's input (3, S, S) of a picture RGB (H, W, 3), by the library's own processor."""
        if self._kind.video:
            return self._processor(videos=[image[np.newaxis]], return_tensors="pt")["pixel_values_videos"][0, 0]
        return self._processor([[image]], return_tensors="pt")["pixel_values"][0, 0]

    def __call__(self, prepared: Sequence[Any]) -> Floats:
        """Features (D,) of a window of prepared pictures: the mean of the network's last hidden states."""
        with self._torch.inference_mode():
            window = self._torch.stack(list(prepared)).unsqueeze(0).to(self._device)
            found: Floats = self._network(window, **self._kind.options).last_hidden_state[0].mean(0).float().cpu().numpy()
        return found


@dataclass(frozen=True)
class WindowFeatures:
    """A network of several pictures as a ``FeatureNetwork``: without classes, and with a pass of its own over a video."""

    windows: WindowNetwork
    resizing: Resizing = Resizing()

    @property
    def names(self) -> dict[int, str]:
        return {}

    @property
    def image_size(self) -> int:
        return self.windows.side

    def engine(self, compute: Compute) -> Engine:
        """Raises SettingsError: no picture has features alone."""
        raise SettingsError("a network of several pictures computes no features of single ones")

    def last_layer(self) -> tuple[Floats, Floats]:
        """Raises BackboneError: there are no classes."""
        raise BackboneError("a network of several pictures has no classes")
