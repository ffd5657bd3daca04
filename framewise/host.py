"""framewise inside a label-studio-ml 2.x server (``label-studio-ml start .``): the same use cases behind that host's class.

The host makes an object for every request and knows a project by its number alone.
"""

import functools
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from framewise.assembly import Assembly
from framewise.core.errors import FramewiseError
from framewise.core.storage import acquire
from framewise.learning.threads import one_processor_a_thread
from framewise.processes import start_child
from framewise.serve import with_default_backbone
from framewise.settings import Settings

MISSING_HOST = (
    "label-studio-ml 2.x is not installed, which hosts this class. It is not on the package index: "
    "pip install 'label-studio-ml @ git+https://github.com/HumanSignal/label-studio-ml-backend.git'. "
    "Without it, `framewise serve` runs the same backend"
)
WORKER_RESTART_SECONDS = 2.0


def host_base_class() -> type:
    """label-studio-ml's base class; without that package a class that says what is missing when it is made."""
    try:
        import label_studio_ml.response  # noqa: F401  (1.x has the base class, but not the protocol)
        from label_studio_ml.model import LabelStudioMLBase
    except ImportError:
        return _NoHost
    base: type = LabelStudioMLBase
    return base


class _NoHost:
    def __init__(self, *args: Any, **kwargs: Any):
        raise FramewiseError(MISSING_HOST)


class HostedBackend:
    """What the host calls. Beside ``LabelStudioMLBase`` in the bases of a class: it uses that one's attributes."""

    project_id: str
    label_config: str | None

    def setup(self) -> None:
        """Called by the host for every object it makes: tells it the version in use."""
        if self.label_config:
            version = _assembly().backend.setup(_key(self.project_id), self.label_config)
            self.set("model_version", version)  # type: ignore[attr-defined]

    def predict(self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **_: Any) -> list[Any]:
        """One prediction a task, or [] where there is none yet."""
        return _assembly().backend.predict(_key(self.project_id), self.label_config or "", tasks)

    def fit(self, event: str, data: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Record an event; a worker trains."""
        project = {**(data.get("project") or {}), "created_at": None}
        return _assembly().backend.on_event({**data, "action": event, "project": project})


def _key(project: str) -> str:
    return f"{project or 0}.0"


@functools.cache
def _assembly() -> Assembly:
    settings = with_default_backbone(Settings.from_env(os.environ))
    one_processor_a_thread()
    threading.Thread(target=_keep_worker, args=(settings,), name="framewise-worker", daemon=True).start()
    return Assembly(settings, waiting_slots=1)


def _keep_worker(settings: Settings) -> None:
    """Keep one worker going for all processes of the host on this machine: the one that gets the lock has it as a child."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    acquire(settings.data_dir / "host-worker.lock")  # held as long as the process lives
    while True:
        start_child([sys.executable, "-m", "framewise", "work"], {**os.environ, **settings.to_env()}).wait()
        time.sleep(WORKER_RESTART_SECONDS)
