"""The ``framewise`` command, as a process."""

import subprocess
import sys

import pytest

from framewise import __version__
from framewise.settings import describe_settings
from tests.integration.service import OUR_VARIABLES, Service, free_port


@pytest.fixture
def framewise(tmp_path):
    """Runs the command in an empty folder, without settings from outside."""

    def run(*args, **settings):
        import os

        env = {name: value for name, value in os.environ.items() if name not in OUR_VARIABLES}
        env |= {name: str(tmp_path / name.lower()) for name in ("MODEL_ROOT", "CACHE_DIR", "DATA_DIR")}
        command = [sys.executable, "-m", "framewise", *args]
        return subprocess.run(command, env={**env, **settings}, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return run
