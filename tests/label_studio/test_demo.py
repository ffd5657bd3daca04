"""``framewise demo``: the product's promise, run as a newcomer runs it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture
def command(label_studio_program: str, tmp_path: Path) -> list[str]:
    folder = str(tmp_path / "demo")
    return [sys.executable, "-m", "framewise", "demo", "--label-studio", label_studio_program, "--folder", folder]


def test_demo_fills_in_unseen_clips_well(command: list[str], label_studio_data: Path, tmp_path: Path) -> None:
    """Twelve clips, a training and six predictions. It is what the README promises. Label Studio has its database: as fresh as
    the demo makes one, but once for all tests."""
    shutil.copytree(label_studio_data, tmp_path / "demo" / "label-studio")
    done = subprocess.run([*command, "--exit"], capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("predicted  ") == 2 * 6
    score = re.search(r"Mean frame F1: (0\.\d+|1\.0+)", done.stdout)
    assert score is not None
    assert float(score[1]) >= 0.8
    assert (tmp_path / "demo" / "timelines.png").stat().st_size > 10_000
    assert _processes_below(tmp_path) == []


def test_ctrl_c_leaves_no_process_behind(command: list[str], label_studio_data: Path, tmp_path: Path) -> None:
    """In a folder of an earlier run, where Label Studio starts at once."""
    shutil.copytree(label_studio_data, tmp_path / "demo" / "label-studio")
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 900
    while not any("gunicorn" in line for line in _processes_below(tmp_path)):  # Label Studio is up by then, too
        assert demo.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=300) == 130
    assert _processes_below(tmp_path) == []


def _processes_below(folder: Path) -> list[str]:
    """Command lines of processes that were given this folder, by argument or environment (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            given = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in given and int(process.name) != os.getpid():
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found
