"""Networks as feature extractors, of every kind in the table KINDS.

A picture's features are the input of the network's last linear layer (1280 numbers for yolov8n-cls). The class
probabilities of simple mode are that layer applied to cached features, so one cache serves both modes.

A kind of network is a module in ``kinds`` and a row of the table. No file's own code is ever run.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from framewise.core.errors import BackboneError
from framewise.core.storage import write_json, written_atomically
from framewise.features.engine import Engine
from framewise.features.engines import Compute, FeatureNetwork
from framewise.features.kinds.kind import NetworkKind, did_you_mean, one_line
from framewise.features.kinds.lite0 import LITE0, Lite0
from framewise.features.kinds.openvino_file import OpenVinoFile
from framewise.features.kinds.timm_network import TimmNetwork
from framewise.features.kinds.ultralytics import UltralyticsCheckpoint
from framewise.features.kinds.window_folder import WindowFolder
from framewise.features.preprocessing import Image, preprocessor
from framewise.media.video import Picture

KINDS: tuple[NetworkKind, ...] = (UltralyticsCheckpoint(), OpenVinoFile(), TimmNetwork(), WindowFolder(), Lite0())

PICKLES = (".pth", ".bin", ".ckpt", ".pkl", ".tar")


@dataclass(frozen=True)
class BackboneFile:
    """Files of a backbone. ``content`` is the identity of its features: the SHA-256 of the file, or of everything else that
    determines them as well. path: of the weights.
    """

    name: str
    path: Path
    content: str


class Backbones:
    """Finds, downloads and loads backbones; loaded ones are kept in memory. data_dir holds Ultralytics' settings and heads."""

    def __init__(self, model_root: Path, data_dir: Path):
        self._model_root = model_root
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self._loaded: dict[str, Backbone] = {}
        self._heads: dict[str, ClassifierHead] = {}
        self._hashes: dict[tuple[Path, int, int], str] = {}

    def find(self, name: str) -> BackboneFile:
        """Files of a backbone. Raises BackboneError if the name is not allowed or has no file."""
        kind = kind_of(name)
        files = kind.files(name, self._model_root)
        return BackboneFile(kind.canonical(name), files[0], self._content(name, files, kind.salt(name)))

    def check(self, name: str) -> None:
        """Raise BackboneError unless the name is usable: its file exists, or it can be downloaded."""
        if not self.is_to_be_fetched(name):
            self.find(name)

    def is_to_be_fetched(self, name: str) -> bool:
        """True if the name is that of a network that can be downloaded and is not in the models folder yet; False for names of
        no kind, such as those of sensors. Raises BackboneError."""
        return any(kind.claims(name) and kind.is_to_be_fetched(name, self._model_root) for kind in KINDS)

    def fetch_official(self, name: str) -> BackboneFile:
        """``find``, after downloading the network into the models folder if necessary."""
        if self.is_to_be_fetched(name):
            kind_of(name).fetch(name, self._model_root, self._data_dir)
        return self.find(name)

    def at_hand(self) -> list[str]:
        """Names of all backbones that need no download."""
        return [name for kind in KINDS for name in kind.at_hand(self._model_root)]

    def load(self, file: BackboneFile) -> "Backbone":
        """The network, loaded once per process. Raises BackboneError if the file is not such a network."""
        with self._lock:
            if file.content not in self._loaded:
                self._loaded[file.content] = self._load(file)
            return self._loaded[file.content]

    def class_names(self, file: BackboneFile) -> dict[int, str]:
        """Number of each class -> its name; empty if the network has no classes. Stored with ``head`` once they are read."""
        if file.content not in self._heads:
            record = self._data_dir / "backbones" / file.content
            if not record.with_suffix(".json").exists():
                _write_head(self.load(file), record)
            self._heads[file.content] = ClassifierHead(record)
        return self._heads[file.content].names

    def head(self, file: BackboneFile) -> "ClassifierHead":
        """Class names and last layer, from a small file in DATA_DIR once they have been read: simple mode and /setup then need
        no network in memory. Raises BackboneError if the network has no classes."""
        if not self.class_names(file):
            raise BackboneError(
                f'backbone {file.name!r} has no classes that labels could mean: set model_trainable="true", so that your '
                f"labels are learned, or choose a backbone with classes, such as {LITE0!r}"
            )
        return self._heads[file.content]

    def window_seconds(self, name: str) -> float:
        """Length of the window that a row of features describes; 0 for networks of single pictures. Raises BackboneError."""
        return kind_of(name).window_seconds(name, self._model_root)

    def licence(self, file: BackboneFile) -> str:
        """Licence of the weights, as far as known."""
        return kind_of(file.name).licence(file.name, kind_of(file.name).files(file.name, self._model_root))

    def _load(self, file: BackboneFile) -> "Backbone":
        kind = kind_of(file.name)
        try:
            return Backbone(kind.read(file.name, kind.files(file.name, self._model_root), self._data_dir))
        except BackboneError as error:
            raise BackboneError(f"backbone {file.name!r} cannot be loaded: {error}") from None
        except Exception as error:
            raise BackboneError(f"backbone {file.name!r} cannot be loaded: {type(error).__name__}: {one_line(error)}") from None

    def _content(self, name: str, files: list[Path], salt: str) -> str:
        hashes = [self._hash(name, path) for path in files]
        if len(hashes) == 1 and not salt:
            return hashes[0]
        return hashlib.sha256("\n".join([salt, *hashes]).encode()).hexdigest()

    def _hash(self, name: str, path: Path) -> str:
        """SHA-256 of a file, computed once as long as its size and time stay the same."""
        if not path.is_file():
            raise BackboneError(f"backbone {name!r}: {path} is missing; is the installation complete?")
        stat = path.stat()
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._hashes:
            with path.open("rb") as file:
                self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[key]


def kind_of(name: str) -> NetworkKind:
    """Kind of network that a name means. Raises BackboneError: a labeling config must not choose other files."""
    for kind in KINDS:
        if kind.claims(name):
            return kind
    expected = [kind.expected for kind in KINDS]
    cure = f"; {name[name.rfind('.') :]} files are pickles, which could run code" if name.endswith(PICKLES) else ""
    raise BackboneError(
        f"model_path {name!r}: {did_you_mean(name, [n for kind in KINDS for n in kind.suggestions()])}expected "
        f"{', '.join(expected[:-1])} or {expected[-1]}; folders, absolute paths and URLs are not read{cure}"
    )


class Backbone:
    """A network cut before its last linear layer, and the engines that compute it."""

    def __init__(self, cut: FeatureNetwork):
        self.cut = cut
        self._lock = threading.Lock()
        self._engines: dict[Compute, Engine] = {}

    def engine(self, compute: Compute) -> Engine:
        """Engine that computes this network, created once per process. Raises SettingsError."""
        with self._lock:
            if compute not in self._engines:
                self._engines[compute] = self.cut.engine(compute)
            return self._engines[compute]

    def preprocessor(self, profile: str, crop: str) -> Callable[[Picture], Image]:
        """Function that converts a picture to this network's input. Thread-safe."""
        return preprocessor(profile, crop, self.cut.image_size, self.cut.resizing)


class ClassifierHead:
    """A backbone's class names and last linear layer."""

    def __init__(self, record: Path):
        from safetensors.numpy import load_file

        self.names = {int(k): str(v) for k, v in json.loads(record.with_suffix(".json").read_text())["names"].items()}
        tensors = load_file(record.with_suffix(".safetensors"))
        self._weight, self._bias = tensors["weight"], tensors["bias"]

    def probabilities(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Class probabilities (T, K) of features (T, D): the last layer and softmax."""
        logits = features @ self._weight.T + self._bias
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: npt.NDArray[np.float32] = exponents / exponents.sum(axis=1, keepdims=True)
        return result


def _write_head(backbone: Backbone, record: Path) -> None:
    from safetensors.numpy import save

    record.parent.mkdir(parents=True, exist_ok=True)
    weight, bias = backbone.cut.last_layer() if backbone.cut.names else (np.zeros((0, 0), np.float32), np.zeros(0, np.float32))
    with written_atomically(record.with_suffix(".safetensors")) as part:
        part.write_bytes(save({"weight": np.ascontiguousarray(weight), "bias": np.ascontiguousarray(bias)}))
    write_json(record.with_suffix(".json"), {"names": backbone.cut.names})  # last: its presence means that both files are there
