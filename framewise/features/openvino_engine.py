"""OpenVINO's CPU plugin as an engine: models that were converted here, and models from files."""

import threading
from typing import Any

import numpy as np

from framewise.features.engine import CPU_BATCH, Colour, Features, Pictures


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
        batch: int = CPU_BATCH,
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
