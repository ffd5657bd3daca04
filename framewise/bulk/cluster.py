"""Extraction by workers of a Dask cluster, through joblib. They share the cache folder, and see media at the same paths.

If a worker dies, Dask gives its video to another one. Locks and the cache prevent extracting a chunk twice.
"""

import functools
import hashlib
import os
import queue
import shutil
import socket
import threading
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

from framewise import __version__
from framewise.bulk.extracting import FAILED, ExtractionOutcome, Workplace
from framewise.bulk.outcomes import outcomes
from framewise.bulk.videos import Video, Wanted
from framewise.core.errors import FramewiseError, SettingsError
from framewise.core.isolation import MAX_DEATHS
from framewise.core.progress import Pace, silent
from framewise.settings import Settings

CONNECT_SECONDS = 10
STALLED_SECONDS = 60.0
SAMPLES = 3  # files that every worker must see
TOKEN = "token"


@dataclass(frozen=True)
class Share:
    """Settings and samples that client and workers share. folder: of this run, below the cache. values: settings, without
    secrets.

    samples: (path, size) of some of the files, if they are on disks.
    """

    folder: Path
    token: str
    version: str
    values: tuple[tuple[str, str], ...]
    samples: tuple[tuple[str, int], ...]
    wanted: tuple[Wanted, ...]


def extract_on_cluster(
    settings: Settings, videos: Sequence[Video], address: str
) -> Generator[ExtractionOutcome | None, None, None]:
    """Yield outcomes as they come, and None every second. Raises SettingsError if the cluster is unsuitable."""
    with _connected(address) as client, shared(settings, videos) as share:
        _check_workers(client, share, address)
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_submit, args=(client, videos, share, events), daemon=True).start()
        quiet = Pace(STALLED_SECONDS, at_once=False)

        def look(came: bool, left: int) -> None:
            if came or _is_at_something(client):
                quiet.restart()
            elif quiet.is_due():
                raise FramewiseError(_stalled(left, address))

        yield from outcomes(events, len(videos), look)


def _submit(client: Any, videos: Sequence[Video], share: Share, events: "queue.SimpleQueue[Any]") -> None:
    """Submit all videos to the cluster; their outcomes go to ``events``."""
    try:
        with parallel_config(backend="dask", client=client):
            # All at once, for workers that join later; one per batch, because a dying worker loses its whole batch.
            parallel = Parallel(batch_size=1, pre_dispatch="all", return_as="generator_unordered")
            for outcome in parallel(delayed(extract_at_worker)(video, share) for video in videos):
                events.put(outcome)
    except Exception as error:
        events.put(error)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise SettingsError("--dask needs Dask: pip install 'framewise[dask]', here and where its workers run") from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"--dask {address}: no Dask scheduler answers there ({error}); start one with: dask scheduler"
        ) from None
    with client:
        yield client


@contextmanager
def shared(settings: Settings, videos: Sequence[Video]) -> Iterator[Share]:
    """Context that creates this run's folder in the cache, and removes it."""
    folder = settings.cache_dir / "runs" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    token = uuid.uuid4().hex
    (folder / TOKEN).write_text(token)
    # Secrets are not sent through the cluster: each worker has them in its own environment.
    secret = {
        name
        for item in fields(Settings)
        if item.metadata["secret"]
        for name in (item.name.upper(), f"{item.name.upper()}_FILE")
    }
    values = tuple((name, value) for name, value in settings.to_env().items() if name not in secret)
    paths = dict.fromkeys(video.source for video in videos if os.path.isfile(video.source))
    samples = tuple((path, os.path.getsize(path)) for path in list(paths)[:: max(len(paths) // SAMPLES, 1)][:SAMPLES])
    wanted = tuple(dict.fromkeys(wanted for video in videos for wanted in video.wanted))
    try:
        yield Share(folder, token, __version__, values, samples, wanted)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_workers(client: Any, share: Share, address: str) -> None:
    """Raise SettingsError that names an unsuitable worker and the reason."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError:
        raise SettingsError(f"--dask {address}: the scheduler has no worker; start some with: dask worker {address}") from None
    for worker, problem in client.run(problem_at_worker, share, on_error="return").items():
        if isinstance(problem, ModuleNotFoundError):
            raise SettingsError(f"Dask worker {worker}: {problem}; install framewise {__version__} where it runs")
        if problem:
            raise SettingsError(f"Dask worker {worker}: {problem}")


def _is_at_something(client: Any) -> bool:
    """True if a worker has a video, or there is no worker now: others may join."""
    processing = client.processing()
    return not processing or any(processing.values())


def _stalled(left: int, address: str) -> str:
    return (
        f"--dask {address}: the scheduler gave up on {left} videos, as it does when workers repeatedly die; "
        "see the workers' logs. Extracted features are kept"
    )


# The code below runs in a worker.


def extract_at_worker(video: Video, share: Share) -> ExtractionOutcome:
    """Extract a video in a worker of the cluster. Raises SettingsError if this worker, which joined later, is unsuitable."""
    if problem := problem_at_worker(share):
        raise SettingsError(f"Dask worker {_here()}: {problem}")
    begun = share.folder / begun_name(video)
    died_at = begun.read_text().split() if begun.exists() else []
    if len(died_at) >= MAX_DEATHS:
        return ExtractionOutcome(
            video, FAILED, reason=f"workers died at it, at {' and '.join(died_at)}; is there enough memory?"
        )
    with begun.open("a") as file:
        file.write(f"{_here()}\n")
    outcome = _workplace(share).extract(video, silent)
    begun.unlink(missing_ok=True)
    return outcome


def begun_name(video: Video) -> str:
    """Name of the file that says which worker started a video: removed when the video is done, but not if the worker dies."""
    return hashlib.sha256(repr((video.source, video.task)).encode()).hexdigest()[:32]


@functools.lru_cache(maxsize=8)
def problem_at_worker(share: Share) -> str:
    """Reason why this process cannot extract for a client, or ""."""
    if share.version != __version__:
        return f"it has framewise {__version__}, the client {share.version}; install the same version"
    try:
        token = (share.folder / TOKEN).read_text()
    except OSError as error:
        token = str(error.strerror)
    if token != share.token:
        folder = share.folder.parent.parent
        return f"it does not see the client's CACHE_DIR at {folder} ({token}); mount the same folder there, at the same path"
    for path, size in share.samples:
        if problem := _unseen(path, size):
            return f"it does not see {path} as the client does ({problem}); mount the media there, at the same path"
    try:
        place = _workplace(share)
        for wanted in share.wanted:
            place.find_backbone(wanted)
    except FramewiseError as error:
        return str(error)
    return ""


def _unseen(path: str, size: int) -> str:
    try:
        with open(path, "rb"):
            found = os.path.getsize(path)
    except OSError as error:
        return str(error.strerror)
    return "" if found == size else f"it has {found} bytes there, and {size} at the client"


@functools.lru_cache(maxsize=8)
def _workplace(share: Share) -> Workplace:
    """Workplace with the client's settings, but with secrets and DATA_DIR, if it is set, of this process's own environment."""
    own = {"DATA_DIR": os.environ["DATA_DIR"]} if os.environ.get("DATA_DIR") else {}
    settings = Settings.from_env({**os.environ, **dict(share.values), **own})
    # A worker extracts as many videos at once as it has threads.
    return Workplace(replace(settings, extraction_threads=settings.extraction_threads or 1))


def _here() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
