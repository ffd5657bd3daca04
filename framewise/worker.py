"""Composition root of the worker: registers the use cases as the queue's handlers and works."""

import logging

from framewise.assembly import Assembly
from framewise.settings import Settings

logger = logging.getLogger(__name__)


def work(settings: Settings) -> None:
    """Do jobs until told to stop. Logging is set up by the caller."""
    assembly = Assembly(settings)
    assembly.backend.register()
    logger.info("worker ready; data in %s, models in %s", settings.data_dir, settings.model_root)
    assembly.jobs.work()
