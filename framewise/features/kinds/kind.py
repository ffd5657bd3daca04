"""Base class of kinds of networks, and confinement to the models folder."""

import difflib
import importlib
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from framewise.core.errors import BackboneError
from framewise.core.storage import written_atomically
from framewise.features.engines import FeatureNetwork

# A plain name: a labeling config must not choose files in other folders.
PLAIN = re.compile(r"[^./\\:][^/\\:]*")
UNKNOWN = "not known"
MAX_ERROR = 300


class NetworkKind(ABC):
    """A kind of network: its names, its files and how they are read. It keeps no state.

    title: for people. expected: names in a message about one that is none.
    """

    title: str
    expected: str

    @abstractmethod
    def claims(self, name: str) -> bool:
        """True if a ``model_path`` is of this kind."""

    @abstractmethod
    def files(self, name: str, folder: Path) -> list[Path]:
        """Files that determine the features, that of the weights first. Raises BackboneError if one is missing.

        folder: the models folder.
        """

    @abstractmethod
    def read(self, name: str, files: Sequence[Path], data_dir: Path) -> FeatureNetwork:
        """FeatureNetwork of the files. Raises BackboneError, or any other error for a file that is no such network."""

    @abstractmethod
    def at_hand(self, folder: Path) -> list[str]:
        """Names of the networks of this kind that need no download."""

    def suggestions(self) -> list[str]:
        """Names of networks that can be downloaded, if the list is at hand without a slow import."""
        return []

    def canonical(self, name: str) -> str:
        """The network's own name."""
        return name

    def salt(self, name: str) -> str:
        """Text that determines the features besides the content of the files."""
        return ""

    def window_seconds(self, name: str, folder: Path) -> float:
        """Length of the window that a row of features describes; 0 for networks of single pictures. Raises BackboneError."""
        return 0.0

    def is_to_be_fetched(self, name: str, folder: Path) -> bool:
        """True if the network can be downloaded and is not in the models folder. Raises BackboneError."""
        return False

    def fetch(self, name: str, folder: Path, data_dir: Path) -> None:
        """Download the network into the models folder. Raises BackboneError with the cure."""
        raise NotImplementedError(f"{self.title}: nothing is downloaded")

    def licence(self, name: str, files: Sequence[Path]) -> str:
        """Licence of the weights."""
        return UNKNOWN


def is_plain(name: str, *suffixes: str) -> bool:
    """True if a name is that of a file itself, without folders, and has one of the suffixes, if any are given."""
    return PLAIN.fullmatch(name) is not None and (not suffixes or name.endswith(suffixes))


def file_inside(folder: Path, path: Path, name: str) -> Path:
    """The path, if it is inside of the models folder. Raises BackboneError for a link that leads out of it."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BackboneError(f"backbone {name!r}: leads outside the models folder; put the file itself there")
    return path


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The beginning of an error's cure: the known name that is most similar, if one is, with the prefix."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"did you mean {prefix + near[0]!r}? Otherwise " if near else ""


def one_line(error: Exception) -> str:
    """Text of an error of a library, as much of it as fits a message."""
    return " ".join(str(error).split())[:MAX_ERROR]


def put_into_place(source: Path, target: Path) -> None:
    """Link a downloaded file into the models folder, or copy it if that is on another volume. Raises BackboneError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(target) as part:
            try:
                os.link(source.resolve(), part)
            except OSError:
                shutil.copyfile(source, part)
            part.chmod(0o644)
    except OSError as error:
        if not target.exists():  # otherwise another process that downloaded it too was faster
            raise BackboneError(
                f"backbone {target.name!r} was fetched but cannot be put into the models folder: {error}"
            ) from None


def import_torchvision() -> Any:
    """Import torchvision, which timm and Ultralytics' predict use, even if its compiled part does not fit the installed torch.

    The package index has torchvision only for CUDA builds of torch. With a CPU build its operators cannot load, and the import
    fails where it describes two of them. Classification needs neither, so they are declared, and stay unusable.
    """
    import torch

    try:
        torch.ops.torchvision.nms  # noqa: B018  (true where the compiled part was loaded)
    except (AttributeError, RuntimeError):
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
        for name in ("nms", "qnms"):
            _declare_operator(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")


def _declare_operator(name: str, schema: str) -> None:
    import torch

    torch.library.define(name, schema)
