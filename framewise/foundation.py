"""What every process needs, whatever it does: a log, folders, the database, the queue. Light to import: no torch."""

import logging
import sys
import tempfile
from pathlib import Path

from framewise.core.errors import SettingsError
from framewise.jobs import Jobs
from framewise.settings import Settings
from framewise.store.database import DATABASE_NAME, Database
from framewise.store.job_state import JobStates

QUEUE_NAME = "queue.sqlite"


def configure_logging(level: str) -> None:
    """Log to standard error, each line with its time and process: several processes write to one terminal."""
    line = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
    logging.basicConfig(level=level, stream=sys.stderr, format=line, force=True)
    for noisy in ("httpx", "httpcore", "huey", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def check_folders(settings: Settings) -> None:
    """Make the folders of the settings. Raises SettingsError for one in which nothing can be written."""
    for name in ("model_root", "cache_dir", "data_dir"):
        folder: Path = getattr(settings, name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            cure = "choose another folder or change its owner"
            raise SettingsError(f"{name.upper()}: cannot write into {folder}: {error.strerror}; {cure}") from None


def open_database(settings: Settings) -> Database:
    """The database, made if it is not there. Raises SettingsError."""
    return Database(settings.data_dir / DATABASE_NAME, settings.database_journal)


def open_queue(settings: Settings, database: Database) -> Jobs:
    """The queue over a database's jobs, made if it is not there. Raises SettingsError."""
    return Jobs(JobStates(database), settings.data_dir / QUEUE_NAME, settings.queue_url)
