"""Feature extraction for people who program with framewise, by the names of Label Studio's guide to TimelineLabels.

They return one item a decoded picture. In the guide the cache is told apart by ``cache_params``; here it is by the contents
of the video and of the weights, so a changed file is never mistaken for the old one.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from framewise.core.progress import silent
from framewise.features.backbone import BackboneFile, Backbones
from framewise.features.extraction import Extractor
from framewise.media.library import MediaFile
from framewise.settings import Settings


@dataclass(frozen=True)
class FrameResult:
    """One picture. ``probs`` (D,) are its features, or (K,) its class probabilities."""

    probs: torch.Tensor


def cached_feature_extraction(yolo_model: Any, video_path: str | Path, cache_params: str = "") -> list[FrameResult]:
    """Features of every picture of a video: the input of the network's last linear layer, 1280 numbers for yolov8n-cls.

    yolo_model: name of a backbone, or an Ultralytics ``YOLO`` whose file is in the models folder. Raises MediaError,
    BackboneError.
    """
    _, _, features = _extract(yolo_model, video_path)
    return [FrameResult(row) for row in torch.from_numpy(features)]


def cached_yolo_predict(yolo_model: Any, video_path: str | Path, cache_params: str = "") -> list[FrameResult]:
    """Class probabilities of every picture of a video, from the same cache as the features."""
    backbones, file, features = _extract(yolo_model, video_path)
    return [FrameResult(row) for row in torch.from_numpy(backbones.head(file).probabilities(features))]


def _extract(yolo_model: Any, video_path: str | Path) -> tuple[Backbones, BackboneFile, npt.NDArray[np.float32]]:
    settings = Settings.from_env(os.environ)
    backbones = Backbones(settings.model_root, settings.data_dir)
    file = backbones.fetch_official(_name(yolo_model))
    media, extractor = MediaFile.of(Path(video_path)), Extractor.of(settings)
    features = extractor.extract(media, file.content, lambda: backbones.load(file), "center", silent)
    return backbones, file, features.take(np.arange(len(features.timeline.pts)))


def _name(yolo_model: Any) -> str:
    return yolo_model if isinstance(yolo_model, str) else Path(str(yolo_model.ckpt_path)).name
