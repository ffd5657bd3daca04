"""timm's networks, cut before their classifiers."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from framewise.core.errors import BackboneError
from framewise.features.efficientnet import class_names
from framewise.features.engine import of_255
from framewise.features.engines import CutNetwork
from framewise.features.preprocessing import FILTERS, Resizing
from framewise.features.timm_library import import_timm

# Keys of a config.json that describe the weights, and those that would read other files.
OF_WEIGHTS = ("num_classes", "input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
LAYERS = ("first_conv", "classifier", "pool_size", "label_offset")
NOT_GIVEN = ("checkpoint_path", "cache_dir", "features_only", "pruned", "scriptable", "exportable", "no_jit")
IMAGENET_1K = "imagenet-1k"
TOLERANCE = 1e-3


class TimmFeatures(torch.nn.Module):
    """Features (B, D) of pictures (B, 3, S, S): the input of the network's classifier."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.forward_head(self.network.forward_features(x), pre_logits=True)
        return features.flatten(1) if features.shape[2:].numel() == 1 else features

    def fuse(self) -> None:
        """Change nothing: only OpenVINO's converter knows where all these networks have batch norms."""


def read_timm(name: str, side: int | None, weights: Path, config: Mapping[str, Any]) -> CutNetwork:
    """Network of timm's name and a file of weights. Raises BackboneError, or any error of timm's for weights that do not fit.

    side:   of the pictures; None for that of the weights.
    config: content of the hub's config.json; empty if there is none.
    """
    network = _network(name, side, weights, config)
    given = {"input_size": (3, side, side)} if side else {}
    data = import_timm().data.resolve_data_config(given, pretrained_cfg=network.pretrained_cfg)
    channels, height, width = data["input_size"]
    if channels != 3 or height != width:
        raise BackboneError(f"expected a network of square pictures in three colours, found {data['input_size']}")
    if data["crop_mode"] not in ("center", "squash") or data["interpolation"] not in FILTERS:
        raise BackboneError(f"its pictures are prepared in an unknown way: {data['crop_mode']}, {data['interpolation']}")
    resizing = Resizing(math.floor(height / data["crop_pct"]), data["interpolation"], data["crop_mode"] == "squash")
    module = TimmFeatures(network).eval()
    linear = _last_linear(module, height)
    names = _names(network, config) if linear is not None else {}
    if linear is None or len(names) != linear.out_features:
        linear, names = None, {}
    return CutNetwork(module, linear, names, height, of_255(data["mean"]), of_255(data["std"]), resizing)


def _network(name: str, side: int | None, weights: Path, config: Mapping[str, Any]) -> Any:
    """The network with its weights, loaded as timm loads those that it downloads."""
    timm = import_timm()
    told = {**config, **dict(config.get("pretrained_cfg") or {})}
    told["num_classes"] = config.get("num_classes", told.get("num_classes"))
    overlay = {key: told[key] for key in (*OF_WEIGHTS, *LAYERS) if told.get(key) is not None}
    arguments = dict(config.get("model_args") or {})
    if strange := [key for key in arguments if key.startswith("pretrained") or key in NOT_GIVEN]:
        raise BackboneError(f"model_args in config.json: {strange} are not used here; remove them")
    known = name if timm.is_model(name) else str(told.get("architecture", ""))
    if not timm.is_model(known):
        raise BackboneError(f"timm has no network {known or name!r}; is the key architecture of its config.json right?")
    if side and overlay.get("fixed_input_size", timm.get_pretrained_cfg(known).fixed_input_size):
        arguments["img_size"] = side
    overlay |= {"state_dict": load_file(weights), "custom_load": False, "source": "timm"}
    network = timm.create_model(known, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
    del network.pretrained_cfg["state_dict"]
    return network.float().eval()


def _last_linear(module: TimmFeatures, side: int) -> Any:
    """The classifier as one linear layer on the features; None if there is none, or it is more than that. Raises
    BackboneError for features that are none."""
    some = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features, logits = module(some), module.network(some)
    if features.ndim != 2 or not features.isfinite().all():
        raise BackboneError(f"expected features (2, D) of two pictures, found {tuple(features.shape)}, or numbers not finite")
    found = module.network.get_classifier()
    weight = getattr(found, "weight", None)
    if weight is None or weight[0].numel() != features.shape[1]:
        return None
    linear = torch.nn.Linear(features.shape[1], len(weight))
    with torch.no_grad():
        linear.weight.copy_(weight.flatten(1))
        linear.bias.copy_(torch.zeros(len(weight)) if found.bias is None else found.bias)
        is_all = logits.shape == (2, len(weight)) and bool((linear(features) - logits).abs().max() <= TOLERANCE)
    return linear if is_all else None


def _names(network: Any, config: Mapping[str, Any]) -> dict[int, str]:
    """Names of the classes: of config.json, or of the part of ImageNet that has as many."""
    own = config.get("label_names") or network.pretrained_cfg.get("label_names")
    if isinstance(own, list | tuple):
        return dict(enumerate(map(str, own)))
    data = import_timm().data
    subset = data.infer_imagenet_subset(network)
    if subset == IMAGENET_1K:
        return class_names()
    if subset is None:
        return {}
    descriptions = data.ImageNetInfo(subset).label_descriptions()
    return {number: text.split(",")[0].replace(" ", "_") for number, text in enumerate(descriptions)}
