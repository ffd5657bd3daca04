"""Servers and libraries of media that several tests share."""

import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient

from framewise.assembly import Assembly
from framewise.features.backbone import Backbone, Backbones
from framewise.features.engines import Compute
from framewise.features.kinds.lite0 import LITE0
from framewise.label_studio import LabelStudioClient
from framewise.media.addresses import Network
from framewise.media.library import MediaLibrary
from framewise.server.app import create_app
from framewise.settings import Settings
from framewise.sync.ffmpeg import program
from tests.media_help import LEGACY_KEY, loopback_only
from tests.web_server import Server


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes on one processor: results do not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture
def other_server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture
def library(tmp_path: Path) -> Callable[..., MediaLibrary]:
    """Makes a library; ``label_studio`` is its address, or ``client`` one that knows it; hosts and roots are allowed."""

    def make(
        label_studio: str | None = None,
        hosts: Any = ("127.0.0.1",),
        roots: Any = (),
        key: str = LEGACY_KEY,
        client: LabelStudioClient | None = None,
        **more: Any,
    ) -> MediaLibrary:
        more.setdefault("network", Network(loopback_only))
        return MediaLibrary(
            tmp_path / "data", client or LabelStudioClient(label_studio, key), tuple(roots), tuple(hosts), **more
        )

    return make


@pytest.fixture
def ffmpeg(tmp_path: Path) -> Callable[[str], Path]:
    """Runs the line for a shell that ends a text, among the test's files; answers the file that it wrote."""

    def run(text: str) -> Path:
        assert text.count("ffmpeg -") == 1
        _, *arguments = shlex.split(text[text.index("ffmpeg -") :])
        subprocess.run([program(), "-nostdin", "-v", "fatal", *arguments], cwd=tmp_path, check=True)
        return tmp_path / arguments[-1]

    return run


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[FlaskClient, Assembly]]:
    """Makes an application, and the parts by which a test fills it."""

    def make(**settings: Any) -> tuple[FlaskClient, Assembly]:
        folders = {name: tmp_path / name for name in ("model_root", "cache_dir", "data_dir")}
        chosen = Settings(**folders, model_path=LITE0, **settings)
        return create_app(chosen).test_client(), Assembly(chosen)

    return make


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Empty models folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def backbones(models: Path, tmp_path: Path) -> Backbones:
    return Backbones(models, tmp_path / "data")


@pytest.fixture
def tiny(tmp_path: Path, models_folder: Path) -> Backbone:
    """Network of the tiny checkpoint."""
    found = Backbones(models_folder, tmp_path / "data")
    return found.load(found.find("tiny-cls.pt"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of pictures in the batches that go through the network."""
    counts, make = list[int](), Compute.make

    def making(self: Compute, network: Any) -> Any:
        engine = make(self, network)

        class Counted:
            batch = engine.batch

            def __call__(self, pictures: Any) -> Any:
                counts.append(len(pictures))
                return engine(pictures)

        return Counted()

    monkeypatch.setattr(Compute, "make", making)
    return counts
