"""Services whose database and models were filled for a page to show, and a browser without Label Studio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from framewise.assembly import Assembly
from framewise.demo.backend_server import BackendServer, free_port
from framewise.features.kinds.lite0 import LITE0
from framewise.settings import Settings

WAIT_MS = 300_000


@contextmanager
def filled_server(root: Path, fill: Callable[[Assembly], None], **settings: object) -> Iterator[tuple[BackendServer, Assembly]]:
    """A running service over what ``fill`` wrote, and the same parts in this process."""
    own = {
        "model_root": root / "models",
        "cache_dir": root / "cache",
        "data_dir": root / "data",
        "model_path": LITE0,
    }
    made = Settings(**{"port": free_port(), "workers": 1, **own, **settings})  # type: ignore[arg-type]
    assembly = Assembly(made)
    fill(assembly)
    with BackendServer(made, root / "log.txt") as server:
        yield server, assembly


def watched(page: Page) -> list[str]:
    """Complaints of the page from now on: errors of scripts, refusals of the Content-Security-Policy."""
    told: list[str] = []
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("console", lambda m: told.append(m.text) if m.type == "error" and "503" not in m.text else None)
    return told


def until(page: Page, condition: str) -> None:
    """Wait for a condition in the page, whose Content-Security-Policy lets nobody evaluate a text again and again."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
