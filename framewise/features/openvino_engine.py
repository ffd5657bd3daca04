"""OpenVINO's CPU plugin as an engine: models that were converted here, and models from files."""

import threading
from typing import Any

import numpy as np

from framewise.features.engine import Colour, Features, Pictures

OPENVINO_BATCH = 4  # as fast as 8, in less memory


class OpenVinoEngine:
    """One stream per thread. model: has one input, pictures in ``layout``, and its first output is features.

    mean, scale: as for ``CutNetwork``. in_blue_green_red: order of the input's colours. batch: 1 if it takes no other.
    """

    def __init__(
        self,
        model: Any,
        in_half: bool,
        streams: int,
        mean: Colour,
        scale: Colour,
        layout: str = "NCHW",
        in_blue_green_red: bool = False,
        batch: int = OPENVINO_BATCH,
    ):
        import openvino as ov
        from openvino import preprocess

        self.batch = batch
        steps = preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout(layout))
        if in_blue_green_red:
            steps.input().preprocess().reverse_channels()
        steps.input().preprocess().convert_element_type(ov.Type.f32).mean(_numbers(mean)).scale(_numbers(scale))
        how = {
            "INFERENCE_PRECISION_HINT": "bf16" if in_half else "f32",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
        }
        self._compiled = ov.Core().compile_model(steps.build(), "CPU", how)
        self._local = threading.local()
        self._begin()

    def _begin(self) -> None:
        """Compute a picture of zeros. Two threads that each call for the first time may wait for each other forever: OpenVINO
        2026.4 initialises its types in the first access to a tensor, under a lock of its own, and gives up the interpreter's
        meanwhile."""
        shape = self._compiled.input(0).get_partial_shape()
        height, width = (shape[side].get_length() for side in (1, 2))
        self(np.zeros((1, height, width, 3), dtype=np.uint8))

    def __call__(self, pictures: Pictures) -> Features:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        if self.batch > 1:
            return self._features(request, pictures)
        return np.concatenate([self._features(request, picture[np.newaxis]) for picture in pictures])

    def _features(self, request: Any, pictures: Pictures) -> Features:
        found: Features = request.infer({0: pictures})[0]
        return found.astype(np.float32, copy=True)


def _numbers(colour: Colour) -> Any:
    return list(colour) if isinstance(colour, tuple) else colour
