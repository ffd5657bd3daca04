"""Ultralytics' classification networks, cut before their last linear layer."""

import copy
from typing import Any

import torch

from framewise.features.engines import CutNetwork


class YoloFeatures(torch.nn.Module):
    """Features (B, D) of pictures (B, 3, S, S): the input of the network's last linear layer."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # In eval mode Classify returns (softmax, logits); without its linear layer, the logits are the features.
        features: torch.Tensor = self.network(x)[1]
        return features

    def fuse(self) -> None:
        self.network.fuse(verbose=False)


def cut_yolo(network: Any, names: dict[int, str], image_size: int) -> CutNetwork:
    """Cut a classification network, which is changed by it."""
    head = network.model[-1]
    linear, head.linear = head.linear, torch.nn.Identity()
    return CutNetwork(YoloFeatures(network), linear, names, image_size)


def whole_yolo(cut: CutNetwork) -> Any:
    """A copy of the network as it was before it was cut."""
    network = copy.deepcopy(cut.module.network)
    network.model[-1].linear = copy.deepcopy(cut.linear)
    return network
