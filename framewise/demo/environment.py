"""Label Studio in its own virtual environment, because its requirements conflict with framewise's."""

import fcntl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from framewise.core.errors import FramewiseError

LABEL_STUDIO_VERSION = "1.23.2"
READY = ".ready"  # written last: an environment without it is incomplete and is made again
POLL_SECONDS = 0.5
LOG_TAIL_CHARS = 1500


def label_studio_program(folder: Path) -> Path:
    """Path of ``label-studio`` in an environment in ``folder``, which is created the first time. Raises FramewiseError."""
    environment = folder / f"label-studio-{LABEL_STUDIO_VERSION}"
    program = environment / "bin" / "label-studio"
    environment.mkdir(parents=True, exist_ok=True)
    with (folder / f"{environment.name}.lock").open("w") as lock:  # so that only one of two demos creates it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / READY).exists():
            _make(environment)
    return program


def _make(environment: Path) -> None:
    print(f"Installing Label Studio {LABEL_STUDIO_VERSION} in {environment}: about 1 GB, once, takes a few minutes.")
    log = environment.parent / f"{environment.name}.log"
    log.write_bytes(b"")
    _run("creating an environment", [sys.executable, "-m", "venv", "--clear", str(environment)], log)
    install = [str(environment / "bin" / "python"), "-m", "pip", "install", f"label-studio=={LABEL_STUDIO_VERSION}"]
    _run("installing Label Studio", install, log)
    (environment / READY).touch()


def _run(what: str, command: Sequence[str], log: Path) -> None:
    """Run a program, showing the elapsed time and its last line of output."""
    with (
        log.open("ab") as out,
        tqdm(desc=what, bar_format="{desc}, {elapsed} {postfix}", dynamic_ncols=True) as bar,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as child,
    ):
        try:
            while child.poll() is None:
                bar.set_postfix_str(_last_line(log)[:60])
                time.sleep(POLL_SECONDS)
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        tail = log.read_text(errors="replace")[-LOG_TAIL_CHARS:].strip()
        cure = "install python3-venv (Debian, Ubuntu)" if "ensurepip" in tail else "try again"
        raise FramewiseError(f"{what} failed; {cure}, or name a program with --label-studio. The end of {log}:\n{tail}")


def _last_line(log: Path) -> str:
    with log.open("rb") as text:
        text.seek(max(0, log.stat().st_size - 500))
        lines = text.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
