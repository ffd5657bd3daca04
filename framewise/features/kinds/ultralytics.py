"""Ultralytics' classification checkpoints: files in the models folder, and official ones, which are downloaded into it.

Checkpoints (*.pt) are pickles. ``ultralytics_checkpoint`` reads them without running anything in them.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from framewise.core.errors import BackboneError, MediaError
from framewise.features.engines import FeatureNetwork
from framewise.features.kinds.kind import NetworkKind, did_you_mean, file_inside, is_plain, put_into_place
from framewise.features.kinds.lite0 import LITE0
from framewise.features.ultralytics_checkpoint import read_checkpoint
from framewise.media.addresses import MediaHosts, checked_url
from framewise.media.fetch import Downloads, Permit, Remote

OFFICIAL_NAME = re.compile(r"(yolov8|yolo11|yolo26)[nsmlx]-(cls|pose)\.pt")
OFFICIAL_NAMES = [f"{family}{size}-cls.pt" for family in ("yolov8", "yolo11", "yolo26") for size in "nsmlx"]
OFFICIAL_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0/{name}"
OFFICIAL_HOSTS = MediaHosts(("*",))  # GitHub redirects to hosts of its choice, none of them in an internal network


class UltralyticsCheckpoint(NetworkKind):
    """A .pt file."""

    title = "Ultralytics classification checkpoint"
    expected = "the name of a .pt file in the models folder"

    def claims(self, name: str) -> bool:
        return is_plain(name, ".pt")

    def files(self, name: str, folder: Path) -> list[Path]:
        path = folder / name
        if not path.is_file():
            known = sorted(p.name for p in folder.glob("*.pt"))
            official = OFFICIAL_NAME.fullmatch(name) is not None
            cure = "fetch it with 'framewise backbone'" if official else "put the file there"
            near = "" if official else did_you_mean(name, [*known, *OFFICIAL_NAMES])
            raise BackboneError(
                f"backbone {name!r}: no such file in the models folder, which has "
                f"{known or 'no .pt file'}; {near}{cure}, or use {LITE0!r}, which needs none"
            )
        return [file_inside(folder, path, name)]

    def read(self, name: str, files: Sequence[Path], data_dir: Path) -> FeatureNetwork:
        prepare_ultralytics(data_dir)
        from framewise.features.yolo import cut_yolo

        network, names, size = read_checkpoint(files[0])
        return cut_yolo(network.float().eval(), names, size)

    def at_hand(self, folder: Path) -> list[str]:
        return sorted(path.name for path in folder.glob("[!.]*.pt"))

    def suggestions(self) -> list[str]:
        return OFFICIAL_NAMES

    def is_to_be_fetched(self, name: str, folder: Path) -> bool:
        return OFFICIAL_NAME.fullmatch(name) is not None and not (folder / name).is_file()

    def fetch(self, name: str, folder: Path, data_dir: Path) -> None:
        downloads = Downloads(data_dir / "downloads", lambda url, before: Permit(hosts=OFFICIAL_HOSTS))
        try:
            with downloads.held(Remote.at(checked_url(OFFICIAL_URL.format(name=name)))) as (path, _):
                put_into_place(path, folder / name)
                path.unlink(missing_ok=True)
        except MediaError as error:
            other = "" if name.endswith("-pose.pt") else f", or use {LITE0!r}, which needs no download"
            raise BackboneError(
                f"backbone {name!r} is not in the models folder and could not be fetched: {error}. Put the file into the "
                f"models folder, {folder}{other}"
            ) from None

    def licence(self, name: str, files: Sequence[Path]) -> str:
        official = OFFICIAL_NAME.fullmatch(name) is not None
        return "AGPL-3.0, or Ultralytics' enterprise licence" if official else "as you trained it; Ultralytics' code: AGPL-3.0"


def prepare_ultralytics(data_dir: Path) -> None:
    """Set up the environment before Ultralytics is imported: settings below our own folder, no installing, no phoning home."""
    folder = data_dir / "ultralytics"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_VERBOSE", "false")
