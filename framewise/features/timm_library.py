"""timm, which is an extra, and slow to import."""

import importlib
import importlib.util
from typing import Any

from framewise.core.errors import BackboneError
from framewise.features.kinds.kind import import_torchvision

INSTALL = "timm is not installed; pip install 'framewise[timm]'"


def has_timm() -> bool:
    """True if timm and the client of the Hugging Face hub are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("timm", "huggingface_hub"))


def import_timm() -> Any:
    """Import timm. Raises BackboneError if it is not installed."""
    if not has_timm():
        raise BackboneError(INSTALL)
    import_torchvision()
    importlib.import_module("timm.data")
    return importlib.import_module("timm")
