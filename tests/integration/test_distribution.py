"""The wheel and the sdist: built, looked into, installed into a folder of their own, and served from there."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from framewise import __version__
from framewise.demo.backend_server import BackendServer, free_port
from framewise.features.kinds.lite0 import LITE0
from framewise.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
ABOUT = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
NOT_PACKED = ("tests", "tools", "utils")
TIMEOUT = 300


def run(*command: str | Path, **given: object) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, **given)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, for building leaves files in it."""
    folder = tmp_path_factory.mktemp("project") / "framewise"
    for name in ("framewise", *NOT_PACKED):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*(REPOSITORY / name for name in ABOUT), *REPOSITORY.glob("*.py")):
        shutil.copy(path, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel that was made of it."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that pip installed the wheel into, without framewise's dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", folder, *built.glob("*.whl"))
    return folder


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder to be in, where Python finds the installed package first."""
    for name in Settings().to_env():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def package_files(project: Path) -> set[str]:
    """Every file of the package, by its path from the project's folder."""
    return {str(p.relative_to(project)) for p in (project / "framewise").rglob("*") if p.is_file() and p.suffix != ".pyc"}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(source: Path, built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if f"framewise-{__version__}.dist-info/" not in name}

    assert names == package_files(source)
    assert {"framewise/py.typed"} <= names


def test_the_sdist_holds_the_package_and_what_building_it_reads(source: Path, built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}

    generated = {"PKG-INFO", "setup.cfg", *(name for name in names if name.startswith("framewise.egg-info/"))}
    assert names - generated == package_files(source) | set(ABOUT)


def test_the_installed_commands_run_outside_of_the_project(installed: Path, elsewhere: Path) -> None:
    where = run(sys.executable, "-c", "import framewise; print(framewise.__file__)").stdout
    assert where.strip() == str(installed / "framewise" / "__init__.py")
    for command in ([sys.executable, "-m", "framewise"], [sys.executable, str(installed / "bin" / "framewise")]):
        assert run(*command, "--version").stdout.strip() == __version__
        assert "\n    serve  " in run(*command).stdout
    assert LITE0 in run(sys.executable, "-m", "framewise", "backbone", LITE0).stdout


def test_the_installed_service_answers_with_its_pages(elsewhere: Path) -> None:
    folders = {name: elsewhere / name for name in ("model_root", "cache_dir", "data_dir")}
    settings = Settings(port=free_port(), workers=1, model_path=LITE0, sync_page=True, **folders)  # type: ignore[arg-type]
    browser = {"Accept": "text/html"}
    with (
        BackendServer(settings, elsewhere / "log") as server,
        httpx.Client(base_url=server.url, headers=browser, trust_env=False) as client,
    ):
        assert client.get("/health").json()["status"] == "UP"
        for page in ("/", "/sync"):
            answer = client.get(page)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
            linked = re.findall(r'(?:href|src)="([^"]+\.(?:css|js|svg))"', answer.text)
            assert any(name.endswith(".css") for name in linked)
            assert [client.get(name).status_code for name in linked] == [200] * len(linked)
    assert os.listdir(elsewhere / "data_dir")
