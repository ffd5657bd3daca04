"""Engines that compute a backbone: PyTorch, or OpenVINO if it is installed.

An engine maps pictures (B, S, S, 3) uint8 to features (B, D) float32. Each calling thread computes its own batch on one
processor. Threads that share a batch wait for each other at every layer; if another program runs beside them, they wait several
times as long as they work.
"""

import copy
import importlib.util
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
import numpy.typing as npt

from framewise.core.errors import SettingsError

CUDA_BATCH = 64
CPU_BATCH = 8  # larger batches exceed the processor's cache
MAX_WORKERS = 8

Pictures = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


class Engine(Protocol):
    """Calls may overlap. ``batch``: best number of pictures per call."""

    batch: int

    def __call__(self, pictures: Pictures) -> Features: ...


@dataclass(frozen=True)
class CutNetwork:
    """A classification network without its last linear layer.

    module:      pictures (B, 3, S, S) to features (B, D), in eval mode; its ``fuse`` folds batch norms into convolutions
    linear:      last layer, features to logits (B, K)
    names:       number of each class -> its name
    image_size:  S
    mean, scale: a colour v of 0 to 255 enters the module as (v - mean) / scale
    """

    module: Any
    linear: Any
    names: dict[int, str]
    image_size: int
    mean: float = 0.0
    scale: float = 255.0


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

    def make(self, network: CutNetwork) -> Engine:
        """Engine for a network. Raises SettingsError for an unavailable engine."""
        import torch

        if self.engine == "openvino" and not has_openvino():
            raise SettingsError(
                "EXTRACTION_ENGINE: openvino is not installed; pip install 'framewise[openvino]', or set it to torch or auto"
            )
        if torch.cuda.is_available() and self.engine != "openvino":
            return _Cuda(network, in_half=self.precision != "float32")
        in_half = self.precision == "bfloat16" or (self.precision == "auto" and has_bfloat16())
        if self.engine == "torch" or not has_openvino():
            return _Torch(network, in_half)
        return _OpenVino(network, in_half, self.workers)


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
        self._mean, self._scale = network.mean, network.scale
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
        self._mean, self._scale = network.mean, network.scale
        self._module = _fused(network).to("cuda", self._type, memory_format=torch.channels_last)

    def __call__(self, pictures: Pictures) -> Features:
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(pictures).to("cuda", non_blocking=True).permute(0, 3, 1, 2)
            output = self._module(batch.float().sub_(self._mean).div_(self._scale).to(self._type))
        features: Features = output.float().cpu().numpy()
        return features


class _OpenVino:
    """OpenVINO's CPU plugin, one stream per thread."""

    batch = 8

    def __init__(self, network: CutNetwork, in_half: bool, streams: int):
        import openvino as ov
        import torch
        from openvino import preprocess

        plain = _fused(network).to(memory_format=torch.contiguous_format)
        size = network.image_size
        some = torch.zeros(2, 3, size, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, about how OpenVINO traces it
            # OpenVINO traces a call of this module. torch.export would replace every module's call in the meantime, and
            # learning or predicting in another thread would fail.
            model = ov.convert_model(plain, example_input=some)
        model.reshape([-1, 3, size, size])
        steps = preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        steps.input().preprocess().convert_element_type(ov.Type.f32).mean(network.mean).scale(network.scale)
        how = {
            "INFERENCE_PRECISION_HINT": "bf16" if in_half else "f32",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
        }
        self._compiled = ov.Core().compile_model(steps.build(), "CPU", how)
        self._local = threading.local()

    def __call__(self, pictures: Pictures) -> Features:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        found: Features = request.infer({0: pictures})[0]
        return found.astype(np.float32, copy=True)


def _fused(network: CutNetwork) -> Any:
    """A copy of the module with batch norms folded into the preceding convolutions."""
    module = copy.deepcopy(network.module)
    module.fuse()
    return module.eval()
