"""Settings of a service for one run, with all of its files in one folder."""

import shutil
from pathlib import Path
from typing import Any

from framewise.demo.backend_server import free_port
from framewise.features.kinds.lite0 import LITE0
from framewise.settings import Settings


def settings_in(folder: Path, checkpoint: Path | None = None, **others: Any) -> Settings:
    """Settings with a free port, and every folder below this one; media are in ``clips``.

    checkpoint: of the backbone, copied into the models folder; None for EfficientNet-Lite0. A small one in PyTorch, which
    begins at once, leaves a short run to what it is about.
    """
    backbone: dict[str, Any] = {"model_path": LITE0}
    if checkpoint is not None:
        (folder / "models").mkdir(parents=True, exist_ok=True)
        shutil.copy(checkpoint, folder / "models")
        backbone = {"model_path": checkpoint.name, "extraction_engine": "torch"}
    return Settings(
        port=free_port(),
        model_root=folder / "models",
        cache_dir=folder / "cache",
        data_dir=folder / "data",
        **backbone,
        local_files_roots=((folder / "clips").absolute(),),
        **others,
    )
