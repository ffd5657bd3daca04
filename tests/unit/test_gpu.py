"""On a machine with a GPU: it computes the features that the processor computes."""

import numpy as np
import pytest
import torch

from framewise.features.backbone import Backbones
from framewise.features.engines import Compute, _Torch
from framewise.features.kinds.lite0 import LITE0
from tests.videos import colour_pictures

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")


@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-2), ("auto", 0.1)])
def test_a_gpu_computes_what_the_processor_does(tmp_path, precision, most):
    """float32 may be computed in TF32, which has ten bits; auto is half precision."""
    backbones = Backbones(tmp_path, tmp_path / "data")
    backbone = backbones.load(backbones.find(LITE0))
    pictures = np.stack(colour_pictures(70, size=(backbone.cut.image_size, backbone.cut.image_size)))
    expected = _Torch(backbone.network, in_half=False)(pictures)
    found = backbone.engine(Compute(precision=precision))(pictures)
    spread = np.abs(expected[0] - expected[1:]).max()
    assert np.abs(found - expected).max() < most * spread
