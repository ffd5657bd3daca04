"""Network and cached extraction, with the names of Label Studio's guide to TimelineLabels.

The functions return one item per decoded picture. In the guide the cache key is ``cache_params``; here it is the content of the
video and of the weights, so that a changed file or network is never mistaken for the old one.
"""

import copy
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from framewise.core.errors import BackboneError
from framewise.core.progress import silent
from framewise.features.backbone import Backbone, Backbones
from framewise.features.extraction import Extractor
from framewise.features.ultralytics_checkpoint import checked_image_size
from framewise.features.yolo import cut_yolo
from framewise.learning.networks import BaseNN, MultiLabelLSTM
from framewise.media.library import MediaFile
from framewise.settings import Settings

__all__ = ["BaseNN", "FrameResult", "MultiLabelLSTM", "cached_feature_extraction", "cached_yolo_predict"]

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FrameResult:
    """Result of one picture. probs: its features (D,), or its class probabilities (K,)."""

    probs: torch.Tensor


def cached_feature_extraction(yolo_model: Any, video_path: str | Path, cache_params: str = "") -> list[FrameResult]:
    """Features of every picture of a video: the input of the network's last linear layer, 1280 numbers for yolov8n-cls.

    yolo_model: an Ultralytics ``YOLO``, used with its current weights, or the name of a backbone. Raises MediaError,
    BackboneError.
    """
    settings = Settings.from_env(os.environ)
    features = _extract(settings, _network(settings, yolo_model), video_path)
    return [FrameResult(row) for row in torch.from_numpy(features)]


def cached_yolo_predict(yolo_model: Any, video_path: str | Path, cache_params: str = "") -> list[FrameResult]:
    """Class probabilities of every picture of a video, from the same cache as the features."""
    settings = Settings.from_env(os.environ)
    network = _network(settings, yolo_model)
    return [FrameResult(row) for row in torch.from_numpy(network.probabilities(_extract(settings, network, video_path)))]


@dataclass(frozen=True)
class _Network:
    """Network that computes features. content: hash of its weights. probabilities: (T, K) of features (T, D)."""

    content: str
    load: Callable[[], Backbone]
    probabilities: Callable[[Rows], Rows]


def _network(settings: Settings, yolo_model: Any) -> _Network:
    if not isinstance(yolo_model, str):
        return _of_object(yolo_model)
    backbones = Backbones(settings.model_root, settings.data_dir)
    file = backbones.fetch_official(yolo_model)
    return _Network(file.content, lambda: backbones.load(file), lambda features: backbones.head(file).probabilities(features))


def _of_object(yolo: Any) -> _Network:
    """Network of a ``YOLO`` object in memory, whose weights may differ from its file."""
    task, network = getattr(yolo, "task", None), getattr(yolo, "model", None)
    if task != "classify" or not isinstance(network, torch.nn.Module):
        raise BackboneError(
            f"expected a YOLO classification network (such as YOLO('yolov8n-cls.pt')), found {type(yolo).__name__} "
            f"with task {task!r}"
        )
    image_size = checked_image_size(yolo.overrides.get("imgsz"))
    cut = cut_yolo(copy.deepcopy(network).cpu().float().eval(), dict(yolo.names), image_size)
    backbone = Backbone(cut)

    def probabilities(features: Rows) -> Rows:
        with torch.inference_mode():
            found: Rows = torch.softmax(cut.linear(torch.tensor(features)), dim=1).numpy()
        return found

    return _Network(_content(network, image_size), lambda: backbone, probabilities)


def _content(network: torch.nn.Module, image_size: int) -> str:
    """SHA-256 of everything that determines a network's features: layers, weights, and picture size."""
    digest = hashlib.sha256(f"{image_size} {network}".encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _extract(settings: Settings, network: _Network, video_path: str | Path) -> Rows:
    media, extractor = MediaFile.of(Path(video_path)), Extractor.of(settings)
    features = extractor.extract(media, network.content, network.load, "center", silent, every=True)
    return features.take(np.arange(len(features.timeline.pts)))
