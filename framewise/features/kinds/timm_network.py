"""Networks of timm, by name: ``timm/NAME``, with weights in ``timm/NAME.safetensors`` in the models folder.

Weights that are not there are downloaded from the Hugging Face hub, by its own client and through its own cache. Weights as
pickles are never read.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framewise.core.errors import BackboneError
from framewise.features.engines import FeatureNetwork
from framewise.features.kinds.kind import (
    UNKNOWN,
    NetworkKind,
    did_you_mean,
    file_inside,
    one_line,
    put_into_place,
)
from framewise.features.timm_library import INSTALL, has_timm, import_timm

PREFIX = "timm/"
NAME = re.compile(r"timm/(\w[\w.-]*)(?:@(\d{2,4}))?", re.ASCII)
FOLDER = "timm"  # in the models folder
WEIGHTS, CONFIG = ".safetensors", ".json"
ON_HUB = {WEIGHTS: "model.safetensors", CONFIG: "config.json"}
PICKLES = (".pt", ".pth", ".bin", ".ckpt")


class TimmNetwork(NetworkKind):
    """A network of timm, by the name that timm gives to it and its weights, or by an own name with a ``config.json``."""

    title = "timm network"
    expected = "a name of timm's (timm/NAME)"

    def claims(self, name: str) -> bool:
        return NAME.fullmatch(name) is not None

    def salt(self, name: str) -> str:
        return name  # the layers and the size of pictures

    def files(self, name: str, folder: Path) -> list[Path]:
        network, _ = _parts(name)
        path = _path(folder, network, WEIGHTS)
        if not path.is_file():
            raise BackboneError(f"backbone {name!r}: {_why_missing(network, folder)}")
        found = [file_inside(folder, path, name)]
        config = _path(folder, network, CONFIG)
        return [*found, file_inside(folder, config, name)] if config.is_file() else found

    def read(self, name: str, files: Sequence[Path], data_dir: Path) -> FeatureNetwork:
        import_timm()
        from framewise.features.timm_features import read_timm

        network, side = _parts(name)
        return read_timm(network, side, files[0], _config(files))

    def at_hand(self, folder: Path) -> list[str]:
        return sorted(f"{PREFIX}{path.name.removesuffix(WEIGHTS)}" for path in (folder / FOLDER).glob(f"[!.]*{WEIGHTS}"))

    def is_to_be_fetched(self, name: str, folder: Path) -> bool:
        network, _ = _parts(name)
        return not _path(folder, network, WEIGHTS).is_file() and has_timm() and _repository(network) is not None

    def fetch(self, name: str, folder: Path, data_dir: Path) -> None:
        from huggingface_hub import hf_hub_download

        network, _ = _parts(name)
        repository = str(_repository(network))
        try:
            # The weights are last: their presence means that both are there.
            for suffix in (CONFIG, WEIGHTS):
                put_into_place(Path(hf_hub_download(repository, ON_HUB[suffix])), _path(folder, network, suffix))
        except (OSError, ValueError) as error:
            raise BackboneError(
                f"backbone {name!r} is not in the models folder and could not be fetched from the Hugging Face hub: "
                f"{one_line(error)}. Put the file model.safetensors of {repository} there as "
                f"{_path(folder, network, WEIGHTS)}"
            ) from None

    def licence(self, name: str, files: Sequence[Path]) -> str:
        told = _config(files).get("pretrained_cfg")
        own = told.get("license") if isinstance(told, Mapping) else None
        return str(own or getattr(_known(_parts(name)[0]), "license", None) or UNKNOWN)


def _parts(name: str) -> tuple[str, int | None]:
    """timm's own name of a network, and the side of its pictures if the name says one."""
    found = NAME.fullmatch(name)
    assert found is not None, name
    network, side = found.groups()
    return network, int(side) if side else None


def _path(folder: Path, network: str, suffix: str) -> Path:
    return folder / FOLDER / f"{network}{suffix}"


def _config(files: Sequence[Path]) -> Mapping[str, Any]:
    """Content of the hub's config.json, if it is among the files. Raises BackboneError."""
    if len(files) < 2:
        return {}
    try:
        found = json.loads(files[1].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"{files[1].name}: expected JSON: {error}") from None
    if not isinstance(found, Mapping):
        raise BackboneError(f"{files[1].name}: expected the config.json of a network on the Hugging Face hub")
    return found


def _known(network: str) -> Any:
    """timm's description of a network's weights; None if it has none of that name."""
    timm = import_timm()
    try:
        return timm.get_pretrained_cfg(network) if timm.is_model(network) else None
    except RuntimeError:  # a known network, but not with these weights
        return None


def _repository(network: str) -> str | None:
    """Repository on the Hugging Face hub with a network's weights."""
    return getattr(_known(network), "hf_hub_id", None)


def _why_missing(network: str, folder: Path) -> str:
    """Cause and cure of missing weights."""
    path = _path(folder, network, WEIGHTS)
    for suffix in PICKLES:
        if (pickle := _path(folder, network, suffix)).is_file():
            return f"{pickle.name} is a pickle, which could run code; save its weights as safetensors, in {path}"
    if not has_timm():
        return INSTALL
    if _known(network) is not None:
        return f"its weights are not on the Hugging Face hub; put them into {path}"
    near = did_you_mean(network, import_timm().list_pretrained(), PREFIX)
    return f"timm has no such network; {near}put its weights into {path}, and its config.json beside them as {network}{CONFIG}"
