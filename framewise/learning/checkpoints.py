"""Files of a model: ``weights.safetensors`` and ``network.json``. No pickle is written or read."""

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from framewise.core.errors import ModelError

WEIGHTS, DESCRIPTION = "weights.safetensors", "network.json"
KEPT_IN_MEMORY = 16

T_co = TypeVar("T_co", covariant=True)


class Loadable(Protocol[T_co]):
    """Class whose objects are built from the contents of the files."""

    def from_checkpoint(self, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> T_co: ...


_cache_lock = threading.Lock()
_cache: dict[tuple[str, int], Any] = {}


def write(folder: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model to ``folder``, which is created if missing. description["class"] names its class."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not written by safetensors, which reports a full disk by an error of its own instead of OSError.
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    (folder / WEIGHTS).write_bytes(to_bytes(plain))
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2))


def load(folder: Path, classes: Mapping[str, Loadable[T_co]]) -> T_co:
    """Load the model in a folder. Raises ModelError that names the folder and the problem."""
    try:
        description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
        return classes[description["class"]].from_checkpoint(description, load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ModelError) as error:
        raise ModelError(
            f"model {folder}: expected {DESCRIPTION} and {WEIGHTS} of a network, found {type(error).__name__}: {error}; "
            "remove the folder to train again"
        ) from None


def load_cached(folder: Path, load_from: Callable[[Path], T_co]) -> T_co | None:
    """Result of ``load_from(folder)``, cached until the files change; None if there is no such folder."""
    try:
        key = _cache_key(folder)
    except OSError:
        return None
    with _cache_lock:
        if key not in _cache:
            _put(key, load_from(folder))
        found: T_co = _cache[key]
        return found


def keep(folder: Path, model: Any) -> None:
    """Make ``load_cached`` return this object, just written to ``folder``, until the files change."""
    with _cache_lock:
        _put(_cache_key(folder), model)


def _cache_key(folder: Path) -> tuple[str, int]:
    return str(folder), (folder / DESCRIPTION).stat().st_mtime_ns


def _put(key: tuple[str, int], model: Any) -> None:
    while len(_cache) >= KEPT_IN_MEMORY:
        _cache.pop(next(iter(_cache)))
    _cache[key] = model
