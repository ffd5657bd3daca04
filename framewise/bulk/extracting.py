"""Extraction of one video after another in one process, on this machine or in a cluster's worker."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from framewise.assembly import media_library
from framewise.backend.free_disk import FreeDisk
from framewise.bulk.outcomes import LOOK_SECONDS
from framewise.bulk.videos import Video, Wanted
from framewise.core.errors import BackboneError, is_disk_full
from framewise.core.isolation import Failure
from framewise.core.progress import Pace, Progress, part_of
from framewise.features.backbone import Backbone, BackboneFile, Backbones
from framewise.features.extraction import Extractor, VideoFeatures
from framewise.features.pose_network import PoseNetwork
from framewise.features.pose_networks import PoseNetworks
from framewise.foundation import check_folders
from framewise.label_studio import LabelStudioClient
from framewise.media.library import MediaFile
from framewise.settings import Settings

logger = logging.getLogger(__name__)

EXTRACTED, CACHED, FAILED = "extracted", "cached", "failed"


@dataclass(frozen=True)
class ExtractionOutcome:
    """Outcome of one video. content: of its file, None if that could not be read. pictures: number of decoded ones."""

    video: Video
    state: str
    content: str | None = None
    pictures: int = 0
    reason: str = ""


class Workplace:
    """Parts that a process needs to extract. It opens no database, which may not be on a disk that a cluster shares."""

    def __init__(self, settings: Settings):
        check_folders(settings)
        client = LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key)
        self._media = media_library(settings, client)
        self._backbones = Backbones(settings.model_root, settings.data_dir)
        self._pose_networks = PoseNetworks(self._backbones, settings.model_root, settings.data_dir)
        self._extractor = Extractor.of(settings)
        self._free_disk = FreeDisk(settings.cache_dir, settings.min_free_disk_bytes)

    def extract(self, video: Video, progress: Progress) -> ExtractionOutcome:
        """Extract what is not cached of a video; errors become its outcome. Waits before an extraction while the disk has too
        little room, not during one, whose lock would block anyone who waits for this video."""
        while True:
            self._wait_for_room()
            try:
                return self._extract(video, _WithRoom(progress, self._free_disk))
            except Exception as error:
                if is_disk_full(error) and self._free_disk.missing():
                    continue
                failure = Failure(error)
                logger.debug("%s", video.name, exc_info=failure.is_defect)
                return ExtractionOutcome(video, FAILED, reason=failure.text.removeprefix(f"{Path(video.source).name}: "))

    def find_backbone(self, wanted: Wanted) -> None:
        """Load a backbone. Raises BackboneError unless the file here is exactly the expected one."""
        if (found := self._file(wanted)).content != wanted.content:
            raise BackboneError(f"backbone {wanted.backbone!r}: {found.path} is not the expected file")

    def _file(self, wanted: Wanted) -> BackboneFile:
        return (self._pose_networks if wanted.is_pose else self._backbones).find(wanted.backbone)

    def _cached(self, wanted: Wanted, content: str) -> VideoFeatures | None:
        if wanted.is_pose:
            return self._extractor.cached_poses(content, wanted.content)
        return self._extractor.cached(content, wanted.content, wanted.crop, wanted.every)

    def _wait_for_room(self) -> None:
        while self._free_disk.missing():
            time.sleep(LOOK_SECONDS)

    def _extract(self, video: Video, progress: Progress) -> ExtractionOutcome:
        for wanted in video.wanted:
            self.find_backbone(wanted)
        content = self._media.known_content(video.source, video.task)
        if content:
            cached = [self._cached(wanted, content) for wanted in video.wanted]
            if all(cached) and not self._is_outdated(cached[0], video.source, content):
                return ExtractionOutcome(video, CACHED, content)
        loaded: list[Wanted] = []
        with self._media.opened(video.source, video.task, progress) as file:
            for done, wanted in enumerate(video.wanted):
                features = self._features(file, wanted, loaded, part_of(progress, done, len(video.wanted)))
        pictures = len(features.timeline.pts)
        return (
            ExtractionOutcome(video, EXTRACTED, file.content, pictures)
            if loaded
            else ExtractionOutcome(video, CACHED, file.content)
        )

    def _is_outdated(self, features: VideoFeatures | None, source: str, content: str) -> bool:
        path = self._media.at_hand(source)
        return bool(path and features and self._extractor.is_outdated(features, MediaFile(path, content)))

    def _features(self, file: MediaFile, wanted: Wanted, loaded: list[Wanted], progress: Progress) -> VideoFeatures:
        """Features of a file. Their network is loaded, and they are added to ``loaded``, only if they are not cached."""

        def load() -> Backbone:
            loaded.append(wanted)
            return self._backbones.load(self._file(wanted))

        def load_poses() -> PoseNetwork:
            loaded.append(wanted)
            return self._pose_networks.load(self._file(wanted))

        if wanted.is_pose:
            return self._extractor.extract_poses(file, wanted.content, load_poses, progress)
        return self._extractor.extract(file, wanted.content, load, wanted.crop, progress, wanted.every)


class _WithRoom:
    """Progress that stops with StorageFull when the disk has too little room."""

    def __init__(self, progress: Progress, free_disk: FreeDisk):
        self._progress, self._free_disk = progress, free_disk
        self._pace = Pace(LOOK_SECONDS, at_once=False)

    def __call__(self, share: float, detail: str) -> None:
        if self._pace.is_due():
            self._free_disk.check()
        self._progress(share, detail)
