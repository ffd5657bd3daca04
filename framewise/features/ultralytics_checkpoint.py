"""Ultralytics checkpoints (*.pt), read without running any code in them.

Such a file is a pickle, and a pickle names functions to be called. Here no name in it is ever looked up: each is mapped to an
inert class that stores what it is given. The network is then rebuilt, only from layers of ``LAYERS``, with the file's tensors
and plain values. Not even constructors run: Ultralytics' own would evaluate text of the file as Python. See
docs/decisions/0011.
"""

import importlib
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framewise.core.errors import BackboneError

# Layers of Ultralytics' classification and pose networks (yolov8, yolo11, yolo12 and yolo26, and their ResNets), and the
# activations that a description may ask for. Their code must only compute with plain values.
LAYERS = {
    "torch.nn": [
        "Sequential", "ModuleList", "Conv2d", "BatchNorm2d", "Linear", "Identity", "Dropout", "Flatten", "Upsample",
        "AdaptiveAvgPool2d", "AvgPool2d", "MaxPool2d",
        "SiLU", "ReLU", "ReLU6", "LeakyReLU", "ELU", "GELU", "Mish", "Hardswish", "Sigmoid", "Softmax", "Tanh",
    ],
    "ultralytics.nn.modules.conv": ["Conv", "Conv2", "DWConv", "GhostConv", "LightConv", "RepConv", "Concat"],
    "ultralytics.nn.modules.block": [
        "Bottleneck", "C2f", "C3", "C3k", "C3k2", "C2PSA", "PSABlock", "PSA", "Attention", "SPPF", "SCDown",
        "A2C2f", "ABlock", "AAttn", "ResNetLayer", "ResNetBlock", "GhostBottleneck", "HGStem", "HGBlock",
        "DFL", "RealNVP",
    ],
    "ultralytics.nn.modules.head": ["Classify", "Pose", "Pose26"],
    "ultralytics.nn.tasks": ["ClassificationModel", "PoseModel"],
}  # fmt: skip
# Names from other modules are in no checkpoint that Ultralytics writes. They would be inert too, but whoever put the file there
# should know about them.
USUAL_SOURCES = {"torch", "torchvision", "ultralytics", "numpy", "pathlib", "collections", "types", "datetime", "PIL"}
MAX_IMAGE_SIZE = 2048
# Weights are stored in half precision and used in single. A larger total means that one tensor's storage is referenced many
# times.
MAX_GROWTH = 4
# Tensors that are attributes of a layer, neither weights nor buffers: the strides of a head's scales.
OTHER_TENSORS, MAX_OTHER = ("stride",), 16
MIN_STRIDE = 32  # Ultralytics pads pictures to multiples of at least this
MAX_POINTS = 500  # key points of an object; people have 17 in most networks, 133 with face and hands


class _Inert:
    """An object of a pickle: the name of its intended class, and its state. It does nothing."""

    name = ""
    state: Any = None

    def __new__(cls, *_: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_checkpoint(path: Path) -> tuple[Any, dict[int, str], int]:
    """A classification network, its classes' names, and the side of its square input pictures.

    Raises BackboneError if the file is not such a network, or names anything that does not belong to one.
    """
    network, names, size = _read(path, ("Classify",), "classification network (such as yolov8n-cls.pt)")
    _try_out(network, len(names), size)
    return network, names, size


@dataclass(frozen=True)
class PoseCheckpoint:
    """A network that finds objects and their key points.

    network:    pictures (B, 3, H, W), of 0 to 1, to a tuple whose first item is decoded, see ``features/pose_network.py``
    classes:    number of kinds of objects
    points:     number of key points of an object, and of numbers of each: 2, or 3 with a confidence
    image_size: long side of its input pictures
    stride:     sides of its input pictures are multiples of this
    end_to_end: True if the network itself removes repeated objects
    """

    network: Any
    classes: int
    points: tuple[int, int]
    image_size: int
    stride: int
    end_to_end: bool


def read_pose_checkpoint(path: Path) -> PoseCheckpoint:
    """A pose network. Raises BackboneError if the file is not one, or names anything that does not belong to one."""
    network, names, size = _read(path, ("Pose", "Pose26"), "pose network (such as yolov8n-pose.pt)")
    head = network.model[-1]
    shape: Any = getattr(head, "kpt_shape", None)
    whole = isinstance(shape, list | tuple) and len(shape) == 2 and all(isinstance(number, int) for number in shape)
    if not whole or not (1 <= shape[0] <= MAX_POINTS and shape[1] in (2, 3)):
        raise BackboneError(f"expected 1 to {MAX_POINTS} key points of 2 or 3 numbers, found the shape {str(shape)[:100]}")
    strides = [float(stride) for stride in head.stride]
    if not strides or not all(1 <= stride <= size and stride == int(stride) for stride in strides):
        raise BackboneError(f"expected strides of whole pixels in its pictures of {size} pixels, found {strides}")
    stride = max(int(max(strides)), MIN_STRIDE)
    size = math.ceil(size / stride) * stride  # as Ultralytics does
    found = PoseCheckpoint(network, len(names), (shape[0], shape[1]), size, stride, bool(head.end2end))
    _try_out_pose(found)
    return found


def _read(path: Path, heads: tuple[str, ...], wanted: str) -> tuple[Any, dict[int, str], int]:
    """A network that ends in one of these heads, the names of its classes, and the size of its pictures."""
    content = _fields(_unpickle(path))
    root = content.get("ema") or content.get("model")
    if not isinstance(root, _Inert):
        raise BackboneError(f"expected a checkpoint that Ultralytics wrote, found {type(root).__name__} as its model")
    _check_task(root, heads, wanted)
    network = _Builder(MAX_GROWTH * path.stat().st_size).build(root)
    names = {int(k): str(v) for k, v in _fields(root.state.get("names")).items()}
    return network.float().eval(), names, checked_image_size(_fields(content.get("train_args")).get("imgsz"))


def _unpickle(path: Path) -> Any:
    import torch

    if not zipfile.is_zipfile(path):
        raise BackboneError("expected a checkpoint that torch.save wrote, found something else; is the file complete?")
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise BackboneError("expected a checkpoint as torch.save writes it, found a compressed archive")
    names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    strange = sorted(name for name in names if name.partition(".")[0] not in USUAL_SOURCES)
    if strange:
        raise BackboneError(
            f"expected a checkpoint that contains only a network, found one that names {', '.join(strange)[:200]}, which could "
            "run code. None of it was run; use another file, and do not load this one anywhere else"
        )
    inert: list[Any] = [(type("_Inert", (_Inert,), {"name": name}), name) for name in names]
    with torch.serialization.safe_globals(inert):
        return torch.load(path, map_location="cpu", weights_only=True)


def _fields(value: Any) -> dict[Any, Any]:
    """A mapping, or the state of an object that is used as one (settings of early versions)."""
    value = value.state if isinstance(value, _Inert) else value
    return dict(value) if isinstance(value, Mapping) else {}


def _check_task(root: _Inert, heads: tuple[str, ...], wanted: str) -> None:
    layers = list(_children(_fields(root.state.get("_modules")).get("model")))
    last = layers[-1].name.rpartition(".")[2] if layers else "nothing"
    if last not in heads:
        raise BackboneError(f"expected a YOLO {wanted}, found one that ends in {last}")


def _children(module: Any) -> Iterator[_Inert]:
    yield from (m for m in _fields(_fields(module).get("_modules")).values() if isinstance(m, _Inert))


class _Builder:
    """Builds real layers from inert ones. ``budget``: maximum bytes of all its tensors together."""

    def __init__(self, budget: int):
        import torch

        self._torch = torch
        self._budget = budget
        self._machinery = set(torch.nn.Module().__dict__) - {"training"}

    def build(self, inert: _Inert) -> Any:
        state = _fields(inert)
        module = _layer(inert.name)
        self._torch.nn.Module.__init__(module)
        for name, value in state.items():
            if name not in self._machinery and _is_plain(value):
                module.__dict__[name] = value
            elif name in OTHER_TENSORS and isinstance(value, self._torch.Tensor) and value.numel() <= MAX_OTHER:
                module.__dict__[name] = self._checked(value)
        for name, tensor in _fields(state.get("_parameters")).items():
            checked = self._checked(tensor)
            module.register_parameter(name, None if checked is None else self._torch.nn.Parameter(checked, requires_grad=False))
        for name, tensor in _fields(state.get("_buffers")).items():
            module.register_buffer(name, self._checked(tensor))
        for name, child in _fields(state.get("_modules")).items():
            module.add_module(name, self.build(child) if isinstance(child, _Inert) else None)
        return module

    def _checked(self, tensor: Any) -> Any:
        if tensor is None:
            return None
        if not isinstance(tensor, self._torch.Tensor):
            raise BackboneError(f"expected tensors as weights, found {type(tensor).__name__}")
        self._budget -= tensor.numel() * tensor.element_size()
        if self._budget < 0:
            raise BackboneError("its weights are far larger than the file; is it damaged?")
        return tensor.detach()


def _layer(name: str) -> Any:
    """An uninitialised object of a layer's class. Early versions had all of their modules in one file."""
    home, _, kind = name.rpartition(".")
    for module, kinds in LAYERS.items():
        if kind in kinds and home.startswith(module.rpartition(".")[0]):
            found = getattr(importlib.import_module(module), kind, None)
            if found is not None:
                return found.__new__(found)
    raise BackboneError(f"its layer {name} is not one that framewise knows in such a network")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def checked_image_size(value: Any) -> int:
    from ultralytics.cfg import DEFAULT_CFG_DICT

    sizes = value if isinstance(value, list | tuple) and value else [value or DEFAULT_CFG_DICT["imgsz"]]
    if not all(isinstance(size, int) and 0 < size <= MAX_IMAGE_SIZE for size in sizes):
        raise BackboneError(f"expected pictures of 1 to {MAX_IMAGE_SIZE} pixels a side, found imgsz {str(value)[:100]}")
    return int(max(sizes))


def _try_out(network: Any, classes: int, size: int) -> None:
    """Run a picture through the network, so that mismatches are found here, and not by the first video."""
    import torch

    with torch.inference_mode():
        answer = network(torch.zeros(1, 3, size, size))
    if not isinstance(answer, tuple) or len(answer) != 2 or answer[1].shape != (1, classes):
        raise BackboneError(f"expected one output for each of its {classes} classes, found another shape")


def _try_out_pose(found: PoseCheckpoint) -> None:
    import torch

    side = 2 * found.stride
    with torch.inference_mode():
        answer = found.network(torch.zeros(1, 3, side, side))
    whole = isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], torch.Tensor) and answer[0].ndim == 3
    numbers = (6 if found.end_to_end else 4 + found.classes) + found.points[0] * found.points[1]
    if not whole or answer[0].shape[2 if found.end_to_end else 1] != numbers:
        raise BackboneError(f"expected {numbers} numbers of each object, found another shape")
