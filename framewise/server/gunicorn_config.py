"""gunicorn's configuration: what flags cannot say. ``framewise serve`` gives the rest."""

import importlib
import os
import sys
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


def worker_exit(_server: Any, worker: Any) -> None:
    """End a web process that was told to stop, without taking the interpreter apart: that takes as long as importing Flask, and
    would wait for threads in which a client is still read."""
    if worker.booted and not worker.alive:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)
