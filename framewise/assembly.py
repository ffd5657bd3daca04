"""How the parts are put together, for the web process, the worker and a label-studio-ml host alike."""

import logging
import sys
import tempfile
from pathlib import Path

from framewise.backend import Backend
from framewise.controls import Parts
from framewise.core.errors import SettingsError
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.extraction import Extractor
from framewise.jobs import Jobs
from framewise.label_studio import LabelStudioClient
from framewise.media.fetch import Limits
from framewise.media.library import MediaLibrary
from framewise.settings import Settings
from framewise.store.annotations import Annotations
from framewise.store.browsing import Browsing
from framewise.store.database import DATABASE_NAME, Database
from framewise.store.job_state import JobStates
from framewise.store.made import MadePredictions
from framewise.store.projects import KnownProjects
from framewise.store.pushed import PushedPredictions
from framewise.store.registry import Registry

QUEUE_NAME = "queue.sqlite"


class Assembly:
    """All parts of one process, made from its settings."""

    def __init__(self, settings: Settings, waiting_slots: int = 0):
        self.settings = settings
        check_folders(settings)
        database = Database(settings.data_dir / DATABASE_NAME, settings.database_journal)
        self.label_studio = LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key)
        self.annotations = Annotations(database)
        self.known = KnownProjects(database)
        self.browsing = Browsing(database)
        self.jobs = Jobs(JobStates(database), settings.data_dir / QUEUE_NAME, settings.queue_url)
        self.registry = Registry(settings.model_root, database, settings.keep_versions)
        self.backbones = Backbones(settings.model_root, settings.data_dir)
        self.parts = Parts(
            settings,
            media_library(settings, self.label_studio),
            self.backbones,
            Extractor.of(settings),
            FeatureCache(settings.cache_dir),
            self.registry,
        )
        pushed = PushedPredictions(database)
        self.made = MadePredictions(database)
        self.backend = Backend(
            self.parts, self.annotations, self.known, pushed, self.made, self.jobs, self.label_studio, waiting_slots
        )


def media_library(settings: Settings, label_studio: LabelStudioClient) -> MediaLibrary:
    """Where videos are had from, by the settings."""
    limits = Limits(max_bytes=settings.media_max_bytes)
    return MediaLibrary(settings.data_dir, label_studio, settings.local_files_roots, settings.media_hosts, limits)


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


def configure_logging(level: str) -> None:
    """Log to standard error, each line with its time and process: several processes write to one terminal."""
    line = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
    logging.basicConfig(level=level, stream=sys.stderr, format=line, force=True)
    for noisy in ("httpx", "httpcore", "huey", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
