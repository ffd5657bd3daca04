"""Settings of a service for one run, with all of its files in one folder."""

from pathlib import Path
from typing import Any

from framewise.demo.backend_server import free_port
from framewise.features.backbone import LITE0
from framewise.settings import Settings


def settings_in(folder: Path, **others: Any) -> Settings:
    """Settings with a free port, the installed backbone, and every folder below this one; media are in ``clips``."""
    return Settings(
        port=free_port(),
        model_root=folder / "models",
        cache_dir=folder / "cache",
        data_dir=folder / "data",
        model_path=LITE0,
        local_files_roots=((folder / "clips").absolute(),),
        **others,
    )
