"""Engines that compute a backbone: PyTorch, or OpenVINO if it is installed.

An engine maps pictures (B, S, S, 3) uint8 to features (B, D) float32. Each calling thread computes its own batch on one
processor. Threads that share a batch wait for each other at every layer; if another program runs beside them, they wait several
times as long as they work.
"""

import copy
import importlib.util
import logging
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import joblib
import numpy as np

from framewise.core.errors import SettingsError
from framewise.features.engine import CPU_BATCH, Colour, Engine, Features, Pictures
from framewise.features.preprocessing import Resizing

logger = logging.getLogger(__name__)

CUDA_BATCH = 64
MAX_WORKERS = 8


class FeatureNetwork(Protocol):
    """A network that computes features, and its classes if it has any.

    names:      number of each class -> its name; empty if the features are all that there is
    image_size: side of its square pictures
    resizing:   as in the network's own evaluation
    """

    @property
    def names(self) -> dict[int, str]: ...

    @property
    def image_size(self) -> int: ...

    @property
    def resizing(self) -> Resizing: ...

    def engine(self, compute: "Compute") -> Engine:
        """Engine that computes the features. Raises SettingsError."""

    def last_layer(self) -> tuple[Features, Features]:
        """Weight (K, D) and bias (K,) of the layer from features to logits of the classes."""


@dataclass(frozen=True)
class CutNetwork:
    """A network in PyTorch without its last linear layer.

    module:      pictures (B, 3, S, S) to features (B, D), in eval mode; its ``fuse`` folds batch norms into convolutions
    linear:      last layer, features to logits (B, K); None if it has no classes
    names:       number of each class -> its name
    image_size:  S
    mean, scale: a colour v of 0 to 255 enters the module as (v - mean) / scale, with one number for each of red, green and
                 blue, or one for all
    """

    module: Any
    linear: Any
    names: dict[int, str]
    image_size: int
    mean: Colour = 0.0
    scale: Colour = 255.0
    resizing: Resizing = Resizing()

    def engine(self, compute: "Compute") -> Engine:
        """Engine that computes the features. Raises SettingsError."""
        return compute.make(self)

    def last_layer(self) -> tuple[Features, Features]:
        """Weight (K, D) and bias (K,) of the last layer."""
        weight: Features = self.linear.weight.detach().float().cpu().numpy()
        bias = self.linear.bias
        return weight, np.zeros(len(weight), np.float32) if bias is None else bias.detach().float().cpu().numpy()


@dataclass(frozen=True)
class Compute:
    """Choice of engine ("auto", "torch", "openvino"), precision ("auto", "float32", "bfloat16") and number of threads. auto is
    the fastest available; 0 threads means one per processor."""

    engine: str = "auto"
    precision: str = "auto"
    threads: int = 0

    @property
    def workers(self) -> int:
        """Threads that prepare and compute; decoding is too slow for more."""
        return self.threads or min(joblib.cpu_count(), MAX_WORKERS)

    @property
    def is_half(self) -> bool:
        """True if a processor computes in bfloat16."""
        return self.precision == "bfloat16" or (self.precision == "auto" and has_bfloat16())

    def make(self, network: CutNetwork) -> Engine:
        """Engine for a network. Raises SettingsError for an unavailable engine."""
        import torch

        if self.engine == "openvino" and not has_openvino():
            raise SettingsError(
                "EXTRACTION_ENGINE: openvino is not installed; pip install openvino, or set it to torch or auto"
            )
        if torch.cuda.is_available() and self.engine != "openvino":
            return _Cuda(network, in_half=self.precision != "float32")
        if self.engine == "torch" or not has_openvino():
            return _Torch(network, self.is_half)
        try:
            return _converted(network, self.is_half, self.workers)
        except Exception as error:  # of any class: the converter does not know every layer of every network
            told = f"OpenVINO cannot convert this network: {type(error).__name__}: {str(error).strip()[:200]}"
            if self.engine == "openvino":
                raise SettingsError(f"EXTRACTION_ENGINE: {told}; set it to torch or auto") from None
            logger.warning("%s; PyTorch computes it", told)
            return _Torch(network, self.is_half)


@contextmanager
def threads_of_their_own(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which PyTorch computes on one processor each; its setting elsewhere stays unchanged."""
    import torch

    general, all_here = torch.get_num_threads(), threading.Barrier(count)

    def begin(_: int) -> None:
        torch.get_num_threads()  # a thread's first call applies the global setting to it
        torch.set_num_threads(1)  # for this thread, and for those that start later
        all_here.wait()  # so that each thread reaches this point once

    with ThreadPoolExecutor(count, thread_name_prefix="extract") as pool:
        list(pool.map(begin, range(count)))
        torch.set_num_threads(general)
        yield pool


def has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


@cache
def has_bfloat16() -> bool:
    """True if this processor multiplies bfloat16 numbers in hardware. Otherwise they are slower than float32."""
    import torch

    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("avx512_bf16") or told.get("amx_bf16"))


class _Torch:
    """PyTorch, on the processors that the calling thread may use."""

    batch = CPU_BATCH

    def __init__(self, network: CutNetwork, in_half: bool):
        import torch

        self._torch = torch
        self._type = torch.bfloat16 if in_half else torch.float32
        self._mean, self._scale = _for_each(network.mean), _for_each(network.scale)
        self._module = _fused(network).to(self._type, memory_format=torch.channels_last)

    def __call__(self, pictures: Pictures) -> Features:
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(pictures).permute(0, 3, 1, 2)  # channels last, the order in memory
            output = self._module(batch.float().sub_(self._mean).div_(self._scale).to(self._type))
        features: Features = output.float().cpu().numpy()
        return features


class _Cuda:
    """PyTorch on a GPU. While one thread waits for it, others prepare the next batches."""

    batch = CUDA_BATCH

    def __init__(self, network: CutNetwork, in_half: bool):
        import torch

        self._torch = torch
        self._type = torch.float16 if in_half else torch.float32
        self._mean, self._scale = _for_each(network.mean, "cuda"), _for_each(network.scale, "cuda")
        self._module = _fused(network).to("cuda", self._type, memory_format=torch.channels_last)

    def __call__(self, pictures: Pictures) -> Features:
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(pictures).to("cuda", non_blocking=True).permute(0, 3, 1, 2)
            output = self._module(batch.float().sub_(self._mean).div_(self._scale).to(self._type))
        features: Features = output.float().cpu().numpy()
        return features


def _converted(network: CutNetwork, in_half: bool, streams: int) -> Engine:
    """The network in OpenVINO. Raises any error if it cannot be converted."""
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from framewise.features.openvino_engine import OpenVinoEngine

    plain = _fused(network).to(memory_format=torch.contiguous_format)
    size = network.image_size
    some = torch.zeros(2, 3, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, about how OpenVINO traces it
        # OpenVINO traces a call of this module. torch.export would replace every module's call in the meantime, and
        # learning or predicting in another thread would fail. ``convert_model`` does the same in more memory, and sends
        # statistics to its makers.
        traced = TorchScriptPythonDecoder(plain, example_input=some)
        reader = FrontEndManager().load_by_framework("pytorch")
        model = reader.convert(reader.load(traced))
    model.reshape([-1, 3, size, size])
    return OpenVinoEngine(model, in_half, streams, network.mean, network.scale)


def _for_each(colour: Colour, device: str = "cpu") -> Any:
    """One number for all colours as it is; three as a tensor for pictures (B, 3, H, W)."""
    import torch

    return torch.tensor(colour, device=device).view(1, 3, 1, 1) if isinstance(colour, tuple) else colour


def _fused(network: CutNetwork) -> Any:
    """A copy of the module with batch norms folded into the preceding convolutions."""
    module = copy.deepcopy(network.module)
    module.fuse()
    return module.eval()
