"""Engines that compute a backbone: PyTorch, or OpenVINO where it is installed.

An engine takes pictures (B, S, S, 3) uint8 and gives features (B, D) float32. Every thread that calls one computes its own
batch on its own processor: threads that share a batch wait for each other at every layer, and where another program runs
beside them the wait is several times the work.
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
CPU_BATCH = 8  # more at once leave the cache of the processor
MAX_WORKERS = 8

Pictures = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


class Engine(Protocol):
    """Calls may overlap. ``batch``: how many pictures are best given at once."""

    batch: int

    def __call__(self, pictures: Pictures) -> Features: ...


@dataclass(frozen=True)
class Compute:
    """Engine that computes ("auto", "torch", "openvino"), how exactly ("auto", "float32", "bfloat16"), and on how many
    processors. auto is the fastest that is there; 0 threads are one for each processor."""

    engine: str = "auto"
    precision: str = "auto"
    threads: int = 0

    @property
    def workers(self) -> int:
        """Threads that prepare and compute; a video is not decoded fast enough for more."""
        return self.threads or min(joblib.cpu_count(), MAX_WORKERS)

    def make(self, network: Any, image_size: int) -> Engine:
        """The engine for a network whose last linear layer was taken out. Raises SettingsError for one that is not there."""
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
        return _OpenVino(network, image_size, in_half, self.workers)


@contextmanager
def threads_of_their_own(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in each of which PyTorch computes on one processor; what it does elsewhere stays as it is."""
    import torch

    general, all_here = torch.get_num_threads(), threading.Barrier(count)

    def begin(_: int) -> None:
        torch.get_num_threads()  # a thread's first call gives it what is set for all
        torch.set_num_threads(1)  # for this thread, and for those that begin later
        all_here.wait()  # so that each of the threads comes here once

    with ThreadPoolExecutor(count, thread_name_prefix="extract") as pool:
        list(pool.map(begin, range(count)))
        torch.set_num_threads(general)
        yield pool


def has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


@cache
def has_bfloat16() -> bool:
    """True if this processor multiplies bfloat16 numbers itself. Where it does not, they are slower than float32."""
    import torch

    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("avx512_bf16") or told.get("amx_bf16"))


class _Torch:
    """PyTorch, on the processors that the calling thread may use."""

    batch = CPU_BATCH

    def __init__(self, network: Any, in_half: bool):
        import torch

        self._torch = torch
        self._type = torch.bfloat16 if in_half else torch.float32
        self._network = _fused(network).to(self._type, memory_format=torch.channels_last)

    def __call__(self, pictures: Pictures) -> Features:
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(pictures).permute(0, 3, 1, 2)  # channels last, as it lies in memory
            output = self._network(batch.float().div_(255).to(self._type))
        return _features_of(output)


class _Cuda:
    """PyTorch on a graphics processor. While one thread waits for it, others prepare what comes next."""

    batch = CUDA_BATCH

    def __init__(self, network: Any, in_half: bool):
        import torch

        self._torch = torch
        self._type = torch.float16 if in_half else torch.float32
        self._network = _fused(network).to("cuda", self._type, memory_format=torch.channels_last)

    def __call__(self, pictures: Pictures) -> Features:
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(pictures).to("cuda", non_blocking=True).permute(0, 3, 1, 2)
            output = self._network(batch.float().div_(255).to(self._type))
        return _features_of(output)


class _OpenVino:
    """OpenVINO's CPU plugin, one stream a thread."""

    batch = 8

    def __init__(self, network: Any, image_size: int, in_half: bool, streams: int):
        import openvino as ov
        import torch
        from openvino import preprocess

        plain = _features_alone(_fused(network).to(memory_format=torch.contiguous_format))
        some = torch.zeros(2, 3, image_size, image_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of how OpenVINO follows it
            # OpenVINO follows a call of this module. torch.export would take the place of every module's call meanwhile: what
            # is learned or predicted in another thread would fail.
            model = ov.convert_model(plain, example_input=some)
        model.reshape([-1, 3, image_size, image_size])
        steps = preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        steps.input().preprocess().convert_element_type(ov.Type.f32).scale(255.0)
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


def _fused(network: Any) -> Any:
    """A copy in which batch norms are part of the convolutions before them."""
    return copy.deepcopy(network).fuse(verbose=False).eval()


def _features_of(output: Any) -> Features:
    # In eval mode Classify gives (softmax, logits); with its linear layer taken out, the logits are the features.
    features: Features = output[1].float().cpu().numpy()
    return features


def _features_alone(network: Any) -> Any:
    """A module that gives the features and nothing else."""
    import torch

    class FeaturesAlone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            return self.network(x)[1]

    return FeaturesAlone().eval()
