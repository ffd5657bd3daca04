"""Log file of a synchronization: one line per step."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framewise.core.errors import SettingsError


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Context in which ``framewise.sync`` also logs to a file. Raises SettingsError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--log: {path} cannot be written ({error.strerror})") from None
    form = "%(asctime)s %(levelname)s [%(request_id)s] %(message)s"
    handler.setFormatter(logging.Formatter(form, defaults={"request_id": "-"}))
    logger = logging.getLogger("framewise.sync")
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    except Exception as error:
        logger.error("failed: %s", error)
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
        handler.close()
