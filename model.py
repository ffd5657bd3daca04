"""Backend class for a label-studio-ml 2.x server: framewise's use cases behind that host's interface.

``label-studio-ml start .`` runs ``_wsgi.py``, which serves ``NewModel``. The host creates an object for every request and
identifies a project only by its number. It forwards four events: annotation created, updated and deleted, and training
requested.
"""

import functools
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import framewise
from framewise.assembly import Assembly
from framewise.backend.identifiers import NO_PROJECT
from framewise.core.errors import FramewiseError
from framewise.core.storage import acquire
from framewise.foundation import with_default_backbone
from framewise.learning.threads import one_processor_a_thread
from framewise.processes import framewise_command, start_child
from framewise.settings import Settings

MISSING_HOST = (
    "label-studio-ml 2.x is not installed; it hosts this class. It is not on the package index: "
    "pip install 'label-studio-ml @ git+https://github.com/HumanSignal/label-studio-ml-backend.git'. "
    "Without it, `framewise serve` runs the same backend"
)
WORKER_RESTART_SECONDS = 2.0


def host_base_class() -> type:
    """Base class of label-studio-ml; without that package, a class whose constructor reports that it is missing."""
    try:
        import label_studio_ml.response  # noqa: F401  (1.x has the base class, but not the protocol)
        from label_studio_ml.model import LabelStudioMLBase
    except ImportError:
        return NoHost
    base: type = LabelStudioMLBase
    return base


class NoHost:
    """Base class if label-studio-ml is missing."""

    def __init__(self, *args: Any, **kwargs: Any):
        raise FramewiseError(MISSING_HOST)


class NewModel(host_base_class()):  # type: ignore[misc]
    """framewise hosted by label-studio-ml, which calls the three public methods."""

    project_id: str
    label_config: str | None

    def setup(self) -> None:
        """Report the version in use. The host calls this for every object that it creates."""
        if self.label_config:
            self.set("model_version", _assembly().backend.setup(_key(self.project_id), self.label_config))

    def predict(self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **_: Any) -> list[Any]:
        """One prediction per task, or [] if there are none yet."""
        return _assembly().backend.predict(_key(self.project_id), self.label_config or "", tasks)

    def fit(self, event: str, data: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Record an event; a worker trains."""
        project = {**(data.get("project") or {}), "created_at": None}
        return _assembly().backend.on_event({**data, "action": event, "project": project})


def _key(project: str | int) -> str:
    """Project key from a project number; the host passes "None" without a project."""
    return NO_PROJECT if project in ("", "None") else f"{project}.0"


@functools.cache
def _assembly() -> Assembly:
    settings = with_default_backbone(Settings.from_env(os.environ))
    one_processor_a_thread()
    threading.Thread(target=_keep_worker, args=(settings,), name="framewise-worker", daemon=True).start()
    return Assembly(settings, waiting_slots=1)


def _keep_worker(settings: Settings) -> None:
    """Keep one worker running for all host processes on this machine, as a child of the process that gets the lock."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    acquire(settings.data_dir / "host-worker.lock")  # held until the process ends
    # The host may run in another folder, and framewise may not be installed.
    searched = os.pathsep.join(filter(None, [str(Path(framewise.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, **settings.to_env(), "PYTHONPATH": searched}
    while True:
        start_child(framewise_command("work"), env).wait()
        time.sleep(WORKER_RESTART_SECONDS)
