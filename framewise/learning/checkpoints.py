"""A network's files: ``weights.safetensors`` and ``network.json``. No pickle is written or read."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from framewise.core.errors import ModelError

if TYPE_CHECKING:
    from framewise.learning.networks import BaseNN

WEIGHTS, DESCRIPTION = "weights.safetensors", "network.json"
KEPT_IN_MEMORY = 16

_cache_lock = threading.Lock()
_cache: dict[tuple[str, int], "BaseNN"] = {}


def save(network: "BaseNN", folder: Path) -> None:
    """Write a network into ``folder``, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    # Written here and not by safetensors, whose error of a full disk is none of the system's.
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    (folder / WEIGHTS).write_bytes(to_bytes(tensors))
    description = {
        "class": type(network).__name__,
        "hyperparameters": network.hyperparameters(),
        "label_map": network.get_label_map(),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2))


def load(folder: Path, networks: Mapping[str, type["BaseNN"]]) -> "BaseNN":
    """The network of a folder, in eval mode. Raises ModelError that names the folder and what is wrong in it."""
    try:
        description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
        network = networks[description["class"]](**description["hyperparameters"])
        network.load_state_dict(load_file(folder / WEIGHTS))
        network.set_label_map(description["label_map"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"model {folder}: expected {DESCRIPTION} and {WEIGHTS} of a network, found {type(error).__name__}: {error}; "
            "remove the folder to train anew"
        ) from None
    return network.eval()


def load_cached(folder: Path, networks: Mapping[str, type["BaseNN"]]) -> "BaseNN | None":
    """``load``, from memory while the files are the same; None if the folder is not there."""
    try:
        stamp = (folder / DESCRIPTION).stat().st_mtime_ns
    except OSError:
        return None
    key = (str(folder), stamp)
    with _cache_lock:
        if key not in _cache:
            network = load(folder, networks)
            while len(_cache) >= KEPT_IN_MEMORY:
                _cache.pop(next(iter(_cache)))
            _cache[key] = network
        return _cache[key]
