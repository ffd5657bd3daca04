"""Basics of every process: log, folders, default backbone, database, queue. Fast to import: no torch."""

import logging
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from framewise.core.errors import BackboneError, SettingsError, StorageDamaged
from framewise.features.backbone import Backbones
from framewise.features.kinds.lite0 import LITE0
from framewise.jobs import Jobs
from framewise.settings import OFFICIAL_DEFAULT_BACKBONE, Settings
from framewise.store.database import DATABASE_NAME, Database
from framewise.store.job_state import JobStates

logger = logging.getLogger(__name__)

QUEUE_NAME = "queue.sqlite"


class _Lines(logging.Formatter):
    """Formats each record so that its message stays on one line: what strangers send cannot look like lines of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's own name)
        escaped = "".join(c if c.isprintable() else repr(c)[1:-1] for c in record.message)
        return super().formatMessage(logging.makeLogRecord({**record.__dict__, "message": escaped}))


def configure_logging(level: str) -> None:
    """Log to standard error, each line with time and process id, because several processes write to one terminal."""
    line = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(line))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "huey", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def check_folders(settings: Settings) -> None:
    """Create the folders of the settings. Raises SettingsError if one is not writable."""
    for name in ("model_root", "cache_dir", "data_dir"):
        folder: Path = getattr(settings, name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            cure = "choose another folder or change its owner"
            raise SettingsError(f"{name.upper()}: cannot write into {folder}: {error.strerror}; {cure}") from None


def with_default_backbone(settings: Settings) -> Settings:
    """Download the default backbone, or fall back to EfficientNet-Lite0; returns the settings to use.

    Decided once, before anything is served, because features of two backbones do not mix.
    """
    backbones = Backbones(settings.model_root, settings.data_dir)
    try:
        backbones.fetch_official(settings.model_path)
        return settings
    except BackboneError as error:
        if settings.model_path != OFFICIAL_DEFAULT_BACKBONE:
            raise  # chosen by the user
        logger.warning("%s. Until then %r is used, which needs no download", error, LITE0)
        return replace(settings, model_path=LITE0)


def open_database(settings: Settings) -> Database:
    """Open the database, creating it if missing. Raises SettingsError, StorageDamaged."""
    path = settings.data_dir / DATABASE_NAME
    if path.is_file() and not path.stat().st_size and any(settings.model_root.glob("timelinelabels-*/*/version.json")):
        raise StorageDamaged(
            f"{path}: the database is empty although {settings.model_root} has trained versions; put a back-up in its "
            "place (see docs/operations.md, Back-up and restore), or remove the file to begin anew"
        )
    return Database(path, settings.database_journal)


def open_queue(settings: Settings, database: Database) -> Jobs:
    """Open the queue of a database's jobs, creating it if missing. Raises SettingsError."""
    return Jobs(JobStates(database), settings.data_dir / QUEUE_NAME, settings.queue_url)
