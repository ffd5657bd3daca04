"""A short form of ``make torture``, which kills the service 200 times."""

import os
import re
import subprocess
import sys
from pathlib import Path

KILLS = 9


def test_the_service_survives_being_killed_again_and_again(tmp_path, tiny_checkpoint):
    repository = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "tools.torture", "--kills", str(KILLS), "--seed", "11", "--folder", str(tmp_path)]
    command += ["--backbone", str(tiny_checkpoint)]

    done = subprocess.run(command, cwd=repository, env=env, capture_output=True, text=True, timeout=1800)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        rf"^{KILLS} kills in \d+ rounds, after each of which everything was as promised", done.stdout, re.MULTILINE
    )
