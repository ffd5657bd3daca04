"""Pose networks by name: files in the models folder, and Ultralytics' official ones."""

import re
import threading
from pathlib import Path

from framewise.core.errors import BackboneError
from framewise.features.backbone import BackboneFile, Backbones
from framewise.features.kinds.ultralytics import prepare_ultralytics
from framewise.features.pose_network import PoseNetwork

OFFICIAL_POSES = re.compile(r"(yolov8|yolo11|yolo26)[nsmlx]-pose\.pt")
SMALLEST = "yolo11n-pose.pt"


class PoseNetworks:
    """Finds, downloads and loads pose networks; loaded ones are kept in memory. model_root, data_dir: as of ``Backbones``."""

    def __init__(self, backbones: Backbones, model_root: Path, data_dir: Path):
        self._backbones, self._model_root, self._data_dir = backbones, model_root, data_dir
        self._lock = threading.Lock()
        self._loaded: dict[str, PoseNetwork] = {}

    def check(self, name: str) -> None:
        """Raise BackboneError unless the name is usable: its file exists, or it is an official network."""
        if not self.is_to_be_fetched(name):
            self.find(name)

    def is_to_be_fetched(self, name: str) -> bool:
        """True if the name is an official network that is not in the models folder yet."""
        return OFFICIAL_POSES.fullmatch(name) is not None and not (self._model_root / name).is_file()

    def find(self, name: str) -> BackboneFile:
        """Weights file of a network. Raises BackboneError if the name is not allowed or has no file."""
        if Path(name).name != name or name.startswith(".") or not name.endswith(".pt"):
            raise BackboneError(
                f"model_pose {name!r}: expected the name of a .pt file in the models folder; folders, absolute paths and URLs "
                "are not read"
            )
        if not (self._model_root / name).is_file():
            raise BackboneError(
                f"model_pose {name!r}: no such file in the models folder, {self._model_root}; put the file there, or use an "
                f"official network, such as {SMALLEST!r}, which is downloaded"
            )
        return self._backbones.find(name)

    def fetch_official(self, name: str) -> BackboneFile:
        """``find``, after downloading an official network into the models folder if necessary."""
        return self._backbones.fetch_official(name) if self.is_to_be_fetched(name) else self.find(name)

    def load(self, file: BackboneFile) -> PoseNetwork:
        """The network, loaded once per process. Raises BackboneError if the file is not a pose network."""
        with self._lock:
            if file.content not in self._loaded:
                self._loaded[file.content] = self._load(file)
            return self._loaded[file.content]

    def _load(self, file: BackboneFile) -> PoseNetwork:
        prepare_ultralytics(self._data_dir)
        # Imports torch, which is slow.
        from framewise.features.ultralytics_checkpoint import read_pose_checkpoint

        try:
            return PoseNetwork(read_pose_checkpoint(file.path))
        except BackboneError as error:
            raise BackboneError(f"model_pose {file.name!r} cannot be loaded: {error}") from None
        except Exception as error:
            raise BackboneError(f"model_pose {file.name!r} cannot be loaded: {type(error).__name__}: {error}") from None
