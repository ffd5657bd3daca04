"""A short form of ``make soak``, which lets a project grow for an hour; growth is not judged."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_project_grows_while_a_worker_dies_label_studio_is_away_and_the_clock_jumps(tmp_path, tiny_checkpoint):
    repository = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(repository)}
    size = ["--minutes", "0.35", "--tasks", "30", "--annotated", "8", "--clients", "6", "--seed", "5"]
    command = [
        sys.executable,
        "-m",
        "tools.soak",
        *size,
        "--no-growth",
        "--folder",
        str(tmp_path),
        "--backbone",
        str(tiny_checkpoint),
    ]

    done = subprocess.run(command, cwd=repository, env=env, capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stdout + done.stderr
    header, *tenths = (line.split() for line in done.stdout.strip().split("\n\n")[0].splitlines())
    assert header[-1] == "failed"
    assert [tenth[-1] for tenth in tenths] == ["0"] * 10
