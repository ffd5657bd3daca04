"""Folders of networks that see several pictures at once, in the models folder."""

import re
from collections.abc import Sequence
from pathlib import Path

from framewise.core.errors import BackboneError
from framewise.features.engines import FeatureNetwork
from framewise.features.kinds.kind import NetworkKind, file_inside, import_torchvision
from framewise.features.window_network import WindowFeatures, read_window_network, window_files, window_seconds
from framewise.features.window_pass import WINDOWS

WINDOW_NAME = re.compile(r"hf/[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)


class WindowFolder(NetworkKind):
    """A folder ``hf/OWNER/NAME`` with the files of a network of Hugging Face's library transformers."""

    title = "network of several pictures, run by transformers"
    expected = "the folder of a network of several pictures (hf/OWNER/NAME)"

    def claims(self, name: str) -> bool:
        return WINDOW_NAME.fullmatch(name) is not None

    def files(self, name: str, folder: Path) -> list[Path]:
        try:
            found = window_files(folder / name)
        except BackboneError as error:
            raise BackboneError(f"backbone {name!r}: {error}; nothing is downloaded") from None
        return [file_inside(folder, path, name) for path in found]

    def read(self, name: str, files: Sequence[Path], data_dir: Path) -> FeatureNetwork:
        import_torchvision()
        return WindowFeatures(read_window_network(files[0].parent))

    def at_hand(self, folder: Path) -> list[str]:
        names = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob("hf/**/config.json"))
        return [name for name in names if self._is_complete(name, folder)]

    def salt(self, name: str) -> str:
        return WINDOWS

    def window_seconds(self, name: str, folder: Path) -> float:
        return window_seconds(folder / name)

    def _is_complete(self, name: str, folder: Path) -> bool:
        try:
            return self.claims(name) and bool(self.files(name, folder))
        except BackboneError:
            return False
