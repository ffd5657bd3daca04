"""``make`` looks for packages of the distribution first. Each test has a PATH of its own, where apt-get installs nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from framewise.demo.environment import LABEL_STUDIO_VERSION

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT, USER = 0, 1000
SUDO, SUDO_THAT_ASKS = 'shift; echo "sudo $*" >> "$LOG"; exec "$@"', "exit 1"
BOTH = ("browser", "redis")
LINE = "  sudo apt-get install --no-install-recommends "


class Machine:
    """A folder of stand-in programs, which is all that is on the PATH."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder.parent / "log"
        folder.mkdir()
        self.log.touch()
        for tool in ("sh", "env"):
            (folder / tool).symlink_to(str(shutil.which(tool)))

    def has(self, *names: str, does: str = "exit 0") -> "Machine":
        for name in names:
            (self.folder / name).write_text(f"#!/bin/sh\n{does}\n")
            (self.folder / name).chmod(0o755)
        return self

    def run_by(self, user: int) -> "Machine":
        return self.has("id", does=f"echo {user}")

    def with_apt_get(self) -> "Machine":
        return self.has("apt-get", does='echo "apt-get $*" >> "$LOG"')

    def run(self, *command: str | Path, cwd: Path = REPOSITORY, **environment: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": str(self.folder), "LOG": str(self.log), **environment}
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)

    def packages(self, *needs: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.run("/bin/sh", REPOSITORY / "tools" / "packages.sh", *needs, **environment)

    def done(self) -> list[str]:
        """Calls of apt-get and sudo."""
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "programs")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy of the files that make needs, without an environment."""
    folder = tmp_path / "checkout"
    (folder / "tools").mkdir(parents=True)
    for name in ("Makefile", "tools/packages.sh", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


def make_environment(folder: Path) -> Path:
    """An environment that make takes for made; its framewise writes what it was told."""
    program = folder / ".venv" / "bin" / "framewise"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "framewise $*" >> "$LOG"\n')
    program.chmod(0o755)
    (folder / ".venv" / ".made").touch()
    return program


def test_nothing_is_said_or_done_where_nothing_is_missing(machine: Machine) -> None:
    done = machine.has("python3", "chromium", "redis-server").with_apt_get().run_by(ROOT).packages(*BOTH)
    assert (done.returncode, done.stdout, done.stderr, machine.done()) == (0, "", "", [])


@pytest.mark.parametrize("sudo", [None, SUDO_THAT_ASKS])
def test_without_rights_the_one_line_is_printed_and_nothing_is_done(machine: Machine, sudo: str | None) -> None:
    if sudo:
        machine.has("sudo", does=sudo)
    done = machine.with_apt_get().run_by(USER).packages(*BOTH)
    assert (done.returncode, done.stdout, machine.done()) == (1, "", [])
    assert done.stderr.splitlines()[1:] == [LINE + "python3 python3-venv chromium fonts-dejavu-core redis-server"]


def test_as_root_what_is_missing_is_installed(machine: Machine) -> None:
    done = machine.has("python3", "redis-server").with_apt_get().run_by(ROOT).packages(*BOTH)
    assert done.returncode == 0
    installed = "apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
    assert machine.done() == ["apt-get update -qq", installed]


def test_a_sudo_that_asks_nothing_is_used(machine: Machine) -> None:
    done = machine.has("python3", "chromium").has("sudo", does=SUDO).has("true").with_apt_get().run_by(USER).packages(*BOTH)
    assert done.returncode == 0
    assert [line for line in machine.done() if line.startswith("apt-get")] == [
        "apt-get update -qq",
        "apt-get install -y --no-install-recommends redis-server",
    ]
    assert "sudo apt-get update -qq" in machine.done()


def test_an_apt_get_that_fails_ends_it(machine: Machine) -> None:
    assert machine.has("apt-get", does="exit 100").run_by(ROOT).packages().returncode == 100


def test_without_apt_get_the_packages_are_named(machine: Machine) -> None:
    done = machine.has("python3").run_by(ROOT).packages(*BOTH)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(": chromium fonts-dejavu-core redis-server")


@pytest.mark.parametrize(
    ("python", "missing"),
    [("python3", "python3-venv"), ("python3.12", "python3.12-venv"), ("/usr/bin/python3", "python3-venv")],
)
def test_a_python_without_venv_needs_its_package(machine: Machine, python: str, missing: str) -> None:
    """As Debian's python3 is, where ensurepip cannot be imported."""
    machine.has(Path(python).name, does="exit 1").with_apt_get().run_by(USER)
    name = str(machine.folder / "python3") if "/" in python else python
    assert machine.packages(PYTHON=name).stderr.splitlines()[1:] == [LINE + missing]


@pytest.mark.parametrize("environment", [{"SKIP_BROWSER": "1"}, {"CHROMIUM": "/opt/browser"}], ids=str)
def test_a_browser_is_not_asked_for_where_none_or_another_is_wanted(machine: Machine, environment: dict[str, str]) -> None:
    assert machine.has("python3", "redis-server").run_by(USER).packages(*BOTH, **environment).returncode == 0


def test_a_compiler_is_asked_for_unless_its_tests_are_skipped(machine: Machine) -> None:
    machine.has("python3").run_by(USER).with_apt_get()
    assert machine.packages("compiler").stderr.splitlines()[1:] == [LINE + "gcc libc6-dev"]
    assert machine.packages("compiler", SKIP_COMPILER="1").returncode == 0
    assert machine.has("cc").packages("compiler").returncode == 0


def test_redis_is_not_asked_for_where_its_tests_are_skipped(machine: Machine) -> None:
    assert machine.has("python3", "google-chrome").run_by(USER).packages(*BOTH, SKIP_REDIS="1").returncode == 0


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("test", "chromium fonts-dejavu-core redis-server gcc libc6-dev"),
        ("screenshots", "chromium fonts-dejavu-core"),
        ("demo", ""),
    ],
)
def test_make_says_it_before_anything_else_is_done(machine: Machine, checkout: Path, target: str, missing: str) -> None:
    before = sorted(checkout.rglob("*"))
    done = machine.with_apt_get().run_by(USER).run(str(shutil.which("make")), target, cwd=checkout)
    assert done.returncode == 2
    assert (LINE + f"python3 python3-venv {missing}").rstrip() in done.stderr.splitlines()
    assert (done.stdout, machine.done(), sorted(checkout.rglob("*"))) == ("", [], before)


@pytest.mark.parametrize(("variables", "flags"), [([], ""), (["DEMO_EXIT=1"], " --exit")])
def test_make_demo_is_framewise_demo(machine: Machine, checkout: Path, variables: list[str], flags: str) -> None:
    make_environment(checkout)
    done = machine.has("python3").run(str(shutil.which("make")), "demo", *variables, cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert machine.done() == [f"framewise demo{flags}"]


def test_make_demo_takes_the_label_studio_of_the_tests_where_it_is_there(machine: Machine, checkout: Path) -> None:
    make_environment(checkout)
    (checkout / ".venv-label-studio").mkdir()
    (checkout / ".venv-label-studio" / ".made").touch()
    machine.has("python3").run(str(shutil.which("make")), "demo", cwd=checkout)
    assert machine.done() == [f"framewise demo --label-studio {checkout}/.venv-label-studio/bin/label-studio"]


def test_the_tests_and_the_demo_have_one_version_of_label_studio() -> None:
    assert f"LABEL_STUDIO_VERSION = {LABEL_STUDIO_VERSION}\n" in (REPOSITORY / "Makefile").read_text()
