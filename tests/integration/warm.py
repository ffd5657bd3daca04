"""The framewise command as a process that begins with its imports done: it is forked from one that has them.

They take two seconds of a processor. That each command imports what it needs is shown by tests that start it anew.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path

from framewise.commands.cli import main

_CONTEXT = multiprocessing.get_context("forkserver")
# What is imported once; the process that has it is started by the first command, and ends with this one.
_CONTEXT.set_forkserver_preload([__name__, "framewise.commands.offline"])


def run_warm(args: Sequence[str], env: Mapping[str, str], cwd: Path, timeout: float) -> "subprocess.CompletedProcess[str]":
    """Run a command, as ``subprocess.run`` with captured text does. Variables that are read while something is imported are
    those of the first command."""
    with _environment(env):
        forkserver.ensure_running()
    out, err = cwd / ".stdout", cwd / ".stderr"
    process = _CONTEXT.Process(target=_run, args=(list(args), dict(env), cwd, out, err))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(list(args), timeout)
    texts = [path.read_text() for path in (out, err)]
    for path in (out, err):
        path.unlink()
    return subprocess.CompletedProcess(list(args), process.exitcode, *texts)


def _run(args: list[str], env: dict[str, str], cwd: Path, out: Path, err: Path) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(main(args))


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
