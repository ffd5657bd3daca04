"""Tiny networks of several pictures with random weights, in folders as transformers itself writes them."""

from pathlib import Path
from typing import Any

import torch

from framewise.features.kinds.kind import import_torchvision

PICTURES, SIDE, FEATURES = 8, 32, 24
COMMON = {"patch_size": 8, "hidden_size": FEATURES, "num_hidden_layers": 2, "num_attention_heads": 2}


def write_videomae(folder: Path) -> Any:
    """Write a VideoMAE network, and return it."""
    import_torchvision()
    from transformers import VideoMAEConfig, VideoMAEImageProcessor, VideoMAEModel

    config = VideoMAEConfig(image_size=SIDE, num_frames=PICTURES, intermediate_size=32, **COMMON)
    processor = VideoMAEImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    return _written(folder, VideoMAEModel, config, processor)


def write_vjepa2(folder: Path) -> Any:
    """Write a V-JEPA 2 network, and return it."""
    import_torchvision()
    from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    config = VJEPA2Config(crop_size=SIDE, frames_per_clip=PICTURES, mlp_ratio=2, **predictor, **COMMON)
    return _written(folder, VJEPA2Model, config, VJEPA2VideoProcessor(crop_size={"height": SIDE, "width": SIDE}))


def _written(folder: Path, kind: Any, config: Any, processor: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind(config)
        for parameter in network.parameters():  # fresh weights are so small that all pictures look alike
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return network.eval(), processor
