"""Networks from ONNX and OpenVINO files, run by OpenVINO, which has no code but its own.

A file with names of classes is a classifier: its features are the input of its last linear layer, as for other networks. The
output of any other file is its features.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framewise.core.errors import BackboneError
from framewise.features.engine import CPU_BATCH, Colour, Engine, Features, of_255
from framewise.features.engines import Compute
from framewise.features.input_file import InputFile
from framewise.features.openvino_engine import OpenVinoEngine
from framewise.features.preprocessing import Resizing

READERS = {".onnx": "onnx", ".xml": "ir"}
ABOUT_ITSELF = ("Exception from ", "Check ", "FrontEnd API failed", "Summary:")  # lines of OpenVINO's errors
TYPES = ("f32", "f16", "bf16", "u8")
# Operations between a classifier's last linear layer and its output.
AFTER_LINEAR = {"Softmax", "Add", "Multiply", "Subtract", "Divide", "Convert", "Squeeze", "Reshape"}
NONE = np.zeros(0, np.float32)
TOLERANCE = 1e-3


@dataclass(frozen=True)
class OpenVinoNetwork:
    """A network that OpenVINO runs. model: pictures of ``image_size`` to features. Other fields: as in ``OpenVinoEngine``."""

    model: Any
    names: dict[int, str]
    image_size: int
    resizing: Resizing
    mean: Colour
    scale: Colour
    layout: str
    in_blue_green_red: bool
    batch: int
    weight: Features
    bias: Features

    def engine(self, compute: Compute) -> Engine:
        """Engine that computes the features, on processors alone."""
        return OpenVinoEngine(
            self.model.clone(),
            compute.is_half,
            compute.workers,
            self.mean,
            self.scale,
            self.layout,
            self.in_blue_green_red,
            self.batch,
        )

    def last_layer(self) -> tuple[Features, Features]:
        """Weight (K, D) and bias (K,) of the layer from features to logits."""
        return self.weight, self.bias


def read_network(path: Path, given: InputFile) -> OpenVinoNetwork:
    """Network of a file. Raises BackboneError if it does not map pictures to features."""
    import openvino as ov

    model = _read(path)
    _check_task(model)
    layout, size = _input(model, given)
    output = _output(model, given)
    names = _names(model, given)
    linear = _last_linear(output) if names else None
    weight, bias = _affine(linear, output) if linear is not None else (NONE, NONE)
    if len(weight) != len(names):
        linear, weight, bias = None, NONE, NONE
    features = _pooled(output, layout, given) if linear is None else linear.input_value(0)
    model = ov.Model([features], model.get_parameters(), "features")
    is_number = model.inputs[0].get_element_type().get_type_name() == "u8"
    mean, std = given.mean or (0.0, 0.0, 0.0), given.std or ((1 / 255,) * 3 if is_number else (1.0, 1.0, 1.0))
    network = OpenVinoNetwork(
        model,
        dict(enumerate(names)) if linear is not None else {},
        size,
        Resizing(int(size / given.crop_pct) if given.crop_pct else None, given.interpolation or "bilinear"),
        of_255(mean),
        of_255(std),
        layout,
        given.colors == "BGR",
        _made_for_batches(model, layout, size),
        weight,
        bias,
    )
    _try_out(network)
    return network


def _read(path: Path) -> Any:
    """Model of a file. Only its format's reader is asked, and no extension is loaded. Raises BackboneError."""
    from openvino.frontend import FrontEndManager

    reader = FrontEndManager().load_by_framework(READERS[path.suffix])
    try:
        return reader.convert(reader.load(str(path)))
    except Exception as error:  # its exceptions have no common class
        lines = [line for line in str(error).splitlines() if not line.startswith(ABOUT_ITSELF)]
        raise BackboneError(f"OpenVINO cannot read it: {' '.join(lines).strip()}") from None


def _told(model: Any, *path: str) -> str:
    """Entry of a model's metadata as text; empty if there is none."""
    return str(model.get_rt_info(list(path)).astype(str)) if model.has_rt_info(list(path)) else ""


def _check_task(model: Any) -> None:
    task = _told(model, "framework", "task")
    if task not in ("", "classify"):
        raise BackboneError(
            f"expected a classification network, found one for the task {task!r}; export a classification network, or one that "
            "ends in features"
        )


def _input(model: Any, given: InputFile) -> tuple[str, int]:
    """Layout of a model's input, and the side of its pictures."""
    shapes = [place.get_partial_shape() for place in model.inputs]
    expected = "expected one input of pictures, (N, 3, S, S) or (N, S, S, 3)"
    if len(shapes) != 1 or shapes[0].rank.is_dynamic or len(shapes[0]) != 4:
        found = ", ".join(str(shape) for shape in shapes) or "none"
        raise BackboneError(f"{expected}, found {found}; export the network for pictures")
    shape, name = shapes[0], model.inputs[0].get_element_type().get_type_name()
    layout = next((layout for layout, place in (("NCHW", 1), ("NHWC", 3)) if _length(shape[place]) == 3), None)
    if layout is None:
        raise BackboneError(f"{expected}, found {shape}; export the network for three colours")
    if name not in TYPES:
        raise BackboneError(f"expected an input of type {', '.join(TYPES)}, found {name}")
    sides = [_length(shape[layout.index(letter)]) for letter in "HW"]
    if None not in sides and sides[0] != sides[1]:
        raise BackboneError(f"{expected}, found {shape}; export the network for square pictures")
    size = sides[0] or sides[1] or given.size or _size_told(model)
    if size is None:
        raise BackboneError(f'the input {shape} takes pictures of any size; write {{"size": 224}}, or another, to {given.file}')
    if given.size not in (None, size):
        raise BackboneError(f"{given.file} says size {given.size}, but the network takes {shape}; remove the size")
    return layout, size


def _length(dimension: Any) -> int | None:
    return None if dimension.is_dynamic else int(dimension.get_length())


def _literal(text: str) -> Any:
    """Value of a literal in Python's notation, as Ultralytics writes it; None for anything else."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _size_told(model: Any) -> int | None:
    value = _literal(_told(model, "framework", "imgsz"))
    return int(value[0]) if isinstance(value, list) and len(value) == 2 and value[0] == value[1] else None


def _names(model: Any, given: InputFile) -> list[str]:
    """Names of the classes: of the .json file, or as Ultralytics writes them; empty if there are none."""
    if given.names:
        return list(given.names)
    value = _literal(_told(model, "framework", "names"))
    if isinstance(value, dict) and sorted(value) == list(range(len(value))):
        return [str(value[number]) for number in range(len(value))]
    return _told(model, "model_info", "labels").split()


def _output(model: Any, given: InputFile) -> Any:
    """The value that is the output, or the one that the .json file names."""
    found = {name: place for place in model.outputs for name in place.get_names() or {str(place.get_index())}}
    if given.output is not None and given.output not in found:
        raise BackboneError(f"{given.file} names the output {given.output!r}, but the network has {sorted(found)}")
    if given.output is None and len(model.outputs) != 1:
        raise BackboneError(f'expected one output, found {sorted(found)}; write {{"output": "NAME"}} to {given.file}')
    place = found[given.output] if given.output is not None else model.outputs[0]
    return place.get_node().input_value(0)


def _is_constant(value: Any, depth: int = 8) -> bool:
    """True if a value is computed from constants alone, in at most ``depth`` steps."""
    node = value.get_node()
    if node.get_type_name() == "Constant":
        return True
    inputs = node.input_values()
    return depth > 0 and bool(inputs) and all(_is_constant(part, depth - 1) for part in inputs)


def _last_linear(output: Any) -> Any:
    """Multiplication of features (N, D) by constants that ends a classifier; None if it does not end so."""
    node = output.get_node()
    while node.get_type_name() in AFTER_LINEAR:
        changing = [value for value in node.input_values() if not _is_constant(value)]
        if len(changing) != 1:
            return None
        node = changing[0].get_node()
    is_linear = node.get_type_name() == "MatMul" and _is_constant(node.input_value(1))
    shape = node.input_value(0).get_partial_shape() if is_linear else None
    return node if shape is not None and len(shape) == 2 and not shape[1].is_dynamic else None


def _affine(linear: Any, output: Any) -> tuple[Features, Features]:
    """Weight (K, D) and bias (K,) of everything from features to logits, found by computing it; empty if it is not affine."""
    import openvino as ov

    end = output
    while end.get_node().get_type_name() == "Softmax":
        end = end.get_node().input_value(0)
    number, source = linear.input_value(0).get_partial_shape()[1].get_length(), linear.input_value(0)
    given = ov.opset13.parameter(ov.PartialShape([-1, number]), source.get_element_type())
    linear.input(0).replace_source_output(given.output(0))
    try:
        compiled = ov.Core().compile_model(ov.Model([end], [given], "head"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    finally:
        linear.input(0).replace_source_output(source)

    def logits(features: Features) -> Features:
        return np.concatenate([np.asarray(compiled(row[np.newaxis])[0], np.float32).reshape(1, -1) for row in features])

    bias = logits(np.zeros((1, number), np.float32))[0]
    weight = logits(np.eye(number, dtype=np.float32)).T - bias[:, np.newaxis]
    some = np.random.default_rng(0).normal(size=(2, number)).astype(np.float32)
    expected, found = logits(some), some @ weight.T + bias
    is_affine = np.abs(expected - found).max() <= TOLERANCE * max(np.abs(expected).max(), 1.0)
    return (np.ascontiguousarray(weight), bias) if is_affine else (NONE, NONE)


def _pooled(output: Any, layout: str, given: InputFile) -> Any:
    """Features (N, D) of an output: means over a map's places."""
    import openvino as ov

    shape = output.get_partial_shape()
    rank = 0 if shape.rank.is_dynamic else len(shape)
    if rank == 2:
        return output
    if rank == 4:
        axes = np.array([layout.index(letter) for letter in "HW"])
        return ov.opset13.reduce_mean(output, axes, False).output(0)
    if rank == 3 and given.pool == "mean":
        return ov.opset13.reduce_mean(output, np.array([1]), False).output(0)
    if rank == 3 and given.pool == "first":
        return ov.opset13.gather(output, np.array(0), np.array(1)).output(0)
    cure = (
        f'write {{"pool": "mean"}} to {given.file}, or "first" if the first place stands for the whole picture'
        if rank == 3
        else "export the network so that it ends in features"
    )
    raise BackboneError(f"expected an output of features, (N, D) or (N, D, H, W), found {shape}; {cure}")


def _made_for_batches(model: Any, layout: str, size: int) -> int:
    """Fix the side of a model's pictures; returns the number of pictures that it takes at once."""
    shape = {"N": -1, "C": 3, "H": size, "W": size}
    for number, batch in ((-1, CPU_BATCH), (1, 1)):
        try:
            model.reshape([{**shape, "N": number}[letter] for letter in layout])
        except RuntimeError:
            continue  # made for a certain number of pictures, which is a part of its operations
        if number == 1 or model.outputs[0].get_partial_shape()[0].is_dynamic:
            return batch
    raise BackboneError(
        "expected a network that takes one picture, found one for a fixed number of them; export it for any number"
    )


def _try_out(network: OpenVinoNetwork) -> None:
    """Run two pictures, so that a network that cannot work is refused with its name. Raises BackboneError."""
    side = network.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    found = network.engine(Compute(precision="float32", threads=1))(pictures)
    if found.ndim != 2 or len(found) != 2 or not np.isfinite(found).all():
        raise BackboneError(f"expected features (2, D) of two pictures, found {found.shape}, or numbers that are not finite")
