"""gunicorn's configuration: what flags cannot say. ``framewise serve`` gives the rest."""

import importlib
from typing import Any

from framewise.core.collector import without_collector
from framewise.server.gunicorn_worker import CONNECTIONS, PatientWorker

worker_class = PatientWorker
threads = CONNECTIONS


def on_starting(_server: Any) -> None:
    """Import the application's modules before the web processes are forked, so that they share this memory.

    Imported only: the application itself, with its database, is made in each web process.
    """
    with without_collector():
        importlib.import_module("framewise.server.app")
