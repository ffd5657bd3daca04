"""Assembly of all parts, shared by the web process, the worker and a label-studio-ml host."""

from framewise.backend import Backend
from framewise.controls import Parts
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.extraction import Extractor
from framewise.features.pose_networks import PoseNetworks
from framewise.foundation import check_folders, open_database, open_queue
from framewise.label_studio import LabelStudioClient
from framewise.media.fetch import Limits
from framewise.media.library import MediaLibrary
from framewise.settings import Settings
from framewise.store.annotations import Annotations
from framewise.store.browsing import Browsing
from framewise.store.made import LastPredictions
from framewise.store.media_facts import MediaFacts
from framewise.store.projects import KnownProjects
from framewise.store.pushed import PushedPredictions
from framewise.store.registry import Registry
from framewise.store.suggestions import Suggestions


class Assembly:
    """All parts of one process, built from its settings."""

    def __init__(self, settings: Settings, waiting_slots: int = 0):
        self.settings = settings
        check_folders(settings)
        self.database = database = open_database(settings)
        self.label_studio = LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key)
        self.annotations = Annotations(database)
        self.known = KnownProjects(database)
        self.browsing = Browsing(database)
        self.jobs = open_queue(settings, database)
        self.registry = Registry(settings.model_root, database, settings.keep_versions)
        self.backbones = Backbones(settings.model_root, settings.data_dir)
        self.parts = Parts(
            settings,
            media_library(settings, self.label_studio),
            self.backbones,
            PoseNetworks(self.backbones, settings.model_root, settings.data_dir),
            Extractor.of(settings),
            FeatureCache(settings.cache_dir),
            self.registry,
        )
        pushed = PushedPredictions(database)
        self.made = LastPredictions(database)
        self.facts = MediaFacts(database)
        self.backend = Backend(
            self.parts,
            self.annotations,
            self.known,
            self.facts,
            pushed,
            self.made,
            Suggestions(database),
            self.jobs,
            self.label_studio,
            waiting_slots,
        )


def media_library(settings: Settings, label_studio: LabelStudioClient) -> MediaLibrary:
    """Media library with the limits of the settings."""
    limits = Limits(max_bytes=settings.media_max_bytes)
    return MediaLibrary(settings.data_dir, label_studio, settings.local_files_roots, settings.media_hosts, limits)
