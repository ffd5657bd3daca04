"""Composition root of the worker: registers the use cases as the queue's handlers and works."""

import logging
import os
import sys

from framewise.assembly import Assembly
from framewise.settings import Settings

logger = logging.getLogger(__name__)


def work(settings: Settings) -> None:
    """Do jobs until told to stop; then the process ends. settings: as ``working_settings`` makes them."""
    assembly = Assembly(settings)
    assembly.parts.media.sweep()
    assembly.backend.register()
    logger.info("worker ready; data in %s, models in %s", settings.data_dir, settings.model_root)
    _read_class_names(assembly)
    assembly.jobs.work()
    # Jobs that were interrupted are begun again by the next worker. Here they are threads that compute in C++: an interpreter
    # that ends in the usual way takes itself from under them, and they abort the process with a core dump.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _read_class_names(assembly: Assembly) -> None:
    """Write down the default backbone's classes once. The first /setup would load the network for them, and Label Studio waits
    3 s for that."""
    backbones = assembly.parts.backbones
    try:
        backbones.head(backbones.find(assembly.parts.settings.model_path))
    except Exception as error:  # a bad checkpoint, a full disk: jobs go on, and /setup reads them itself
        logger.warning("cannot store the class names of the default backbone: %s", error)
