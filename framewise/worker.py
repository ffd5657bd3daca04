"""Composition root of the worker: registers the use cases as handlers of the queue and runs jobs."""

import logging
import multiprocessing
import os
import sys

from framewise.assembly import Assembly
from framewise.features.backbone import Backbones
from framewise.settings import Settings

logger = logging.getLogger(__name__)


def work(settings: Settings) -> None:
    """Run jobs until told to stop; then the process exits. settings: from ``working_settings``."""
    # In a process of its own, which takes the network with it when it ends; before there are threads or connections.
    reader = multiprocessing.get_context("fork").Process(target=_store_class_names, args=(settings,))
    reader.start()
    reader.join()
    assembly = Assembly(settings)
    assembly.parts.media.sweep()
    assembly.backend.register()
    logger.info("worker ready; data in %s, models in %s", settings.data_dir, settings.model_root)
    assembly.jobs.work()
    # The next worker restarts interrupted jobs. Here they are threads that still compute in C++: a normal exit would tear down
    # the interpreter under them, and they would abort the process with a core dump.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _store_class_names(settings: Settings) -> None:
    """Store the class names of the default backbone once. Otherwise the first /setup would have to load the network, for which
    Label Studio waits only 3 s."""
    backbones = Backbones(settings.model_root, settings.data_dir)
    try:
        backbones.class_names(backbones.find(settings.model_path))
    except Exception as error:  # a bad checkpoint, a full disk: the worker continues, and /setup reads them itself
        logger.warning("cannot store the class names of the default backbone: %s", error)
