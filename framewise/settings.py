"""All settings. The environment is read only here; command-line flags override it."""

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from framewise.core.errors import SettingsError
from framewise.core.sizes import parse_size

OFFICIAL_DEFAULT_BACKBONE = "yolov8n-cls.pt"
MAX_SECRET_CHARS = 10_000


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.strip().lstrip("+-").isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"expected a number from {low:g} to {high:g}")
        return value

    return parse


def parse_bool(text: str) -> bool:
    """Parse true or false, in the usual spellings. Raises ValueError."""
    lowered = text.strip().lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected true or false")


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(f"expected {', '.join(choices[:-1])} or {choices[-1]}")
        return text.strip().lower()

    return parse


def _log_level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("expected DEBUG, INFO, WARNING or ERROR")
    return text.upper()


def _http_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:  # an invalid port raises ValueError
        raise ValueError("expected an address such as http://localhost:8080")
    return text.rstrip("/")


def _redis_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("redis", "rediss") or not url.hostname or url.port == 0:
        raise ValueError("expected an address such as redis://:password@host:6379/0, or rediss://")
    if not re.fullmatch(r"/?|/\d{1,4}", url.path):
        raise ValueError("expected the number of a database at the end, such as redis://host:6379/0")
    return text


def _folders(text: str) -> tuple[Path, ...]:
    folders = tuple(Path(part.strip()) for part in text.split(os.pathsep) if part.strip())
    for folder in folders:
        if not folder.is_absolute():
            raise ValueError(f"expected absolute folders separated by {os.pathsep!r}, found {str(folder)!r}")
    return folders


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for host in hosts:
        try:
            ipaddress.ip_network(host.strip("[]"))
        except ValueError:
            if not re.fullmatch(r"\*|(\*\.)?[\w-]+(\.[\w-]+)*", host) or re.fullmatch(r"[\d.]+", host):
                raise ValueError(
                    "expected names (media.example.org, *.example.org or *), addresses or networks (192.168.1.0/24), "
                    f"without scheme and port; found {host!r}"
                ) from None
    return hosts


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for name in names:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
            raise ValueError(
                f"expected host names such as framewise or framewise.example.org, without scheme and port; found {name!r}"
            )
    return names


def _setting(default: Any, parse: Callable[[str], Any], help: str, secret: bool = False, also: str | None = None) -> Any:
    return field(default=default, repr=not secret, metadata={"parse": parse, "help": help, "secret": secret, "also": also})


@dataclass(frozen=True)
class Settings:
    """All settings. Each field ``some_name`` is the environment variable ``SOME_NAME``."""

    host: str = _setting("127.0.0.1", str, "address to listen on; 0.0.0.0 for all interfaces (containers)")
    port: int = _setting(9090, _integer(1, 65535), "port to listen on")
    workers: int = _setting(2, _integer(1, 64), "number of web processes")
    threads: int = _setting(8, _integer(2, 256), "threads of the application per web process")
    log_level: str = _setting("INFO", _log_level, "DEBUG, INFO, WARNING or ERROR")
    basic_auth_user: str | None = _setting(None, str, "user name that Label Studio must send; no authentication if empty")
    basic_auth_pass: str | None = _setting(None, str, "password for BASIC_AUTH_USER", secret=True)
    webhook_token: str | None = _setting(
        None, str, "bearer token that webhooks must carry (set it as a header of the webhook in Label Studio)", secret=True
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        _names,
        "host names by which this server is reached besides localhost and this machine's own, separated by commas; "
        "checked while there is no password",
    )
    label_studio_url: str | None = _setting(
        None, _http_url, "address at which framewise reaches Label Studio", also="LABEL_STUDIO_HOST"
    )
    label_studio_api_key: str | None = _setting(
        None, str, "Label Studio access token, personal or legacy; sent only to LABEL_STUDIO_URL", secret=True
    )
    label_studio_public_url: str | None = _setting(
        None, _http_url, "address at which people reach Label Studio, for links on the pages; LABEL_STUDIO_URL if empty"
    )
    model_root: Path = _setting(Path("models"), Path, "folder of backbones and trained versions")
    cache_dir: Path = _setting(Path("cache_dir"), Path, "folder of cached features; safe to delete")
    cache_max_bytes: int = _setting(
        50_000_000_000,
        parse_size,
        "maximum cache size, such as 10GB; after an extraction the least recently used features are evicted, and "
        "are extracted again when needed; 0 for no limit",
    )
    data_dir: Path = _setting(Path("data"), Path, "folder of the database (annotations, jobs) and of downloads")
    database_journal: str = _setting(
        "wal",
        _one_of("wal", "delete"),
        "SQLite journal mode: wal, or delete (slower) if DATA_DIR is on a network file system; the same for all processes",
    )
    queue_url: str | None = _setting(
        None,
        _redis_url,
        "Redis server that carries jobs to workers on several machines, redis://:password@host:6379/0 or "
        "rediss://; if empty, a file in DATA_DIR is used",
        secret=True,
    )
    model_path: str = _setting(
        OFFICIAL_DEFAULT_BACKBONE,
        str,
        "backbone if the labeling config names none: a file in MODEL_ROOT, an official Ultralytics name, timm/NAME, or "
        "efficientnet-lite0",
    )
    model_score_threshold: float = _setting(0.5, _number(0, 1), "score threshold if the labeling config sets none")
    allow_custom_model_path: bool = _setting(True, parse_bool, "allow labeling configs to choose a backbone")
    extraction_profile: str = _setting(
        "fast",
        _one_of("fast", "exact"),
        "how pictures are resized for the backbone: fast, or exact (slower, bit for bit as in Ultralytics); their "
        "features are cached separately",
    )
    extraction_pictures: str = _setting(
        "all",
        _one_of("all", "sampled"),
        "pictures that the backbone computes in the fast profile: all, or sampled (10 a second, more where they change a "
        "lot, none while they stay the same; features between them are interpolated); simple mode and the exact "
        "profile compute all",
    )
    extraction_engine: str = _setting(
        "auto",
        _one_of("auto", "torch", "openvino"),
        "library that runs the backbone on a CPU: torch, openvino, or auto (OpenVINO if it is installed)",
    )
    extraction_precision: str = _setting(
        "auto",
        _one_of("auto", "float32", "bfloat16"),
        "precision of the backbone in the fast profile: float32, bfloat16, or auto (bfloat16 if the processor "
        "supports it, half precision on a GPU)",
    )
    extraction_threads: int = _setting(0, _integer(0, 64), "processors used by one extraction; 0 for all of them, at most 8")
    local_files_roots: tuple[Path, ...] = _setting(
        (), _folders, f"folders, separated by {os.pathsep!r}, from which plain paths in task data may be read"
    )
    media_hosts: tuple[str, ...] = _setting(
        (),
        _hosts,
        "hosts besides Label Studio's from which media may be fetched, separated by commas: names, *.example.org, "
        "or * for any; private addresses only if the address or its network (192.168.1.0/24) is listed",
    )
    media_max_bytes: int = _setting(50_000_000_000, _integer(1, 10**15), "maximum size of a fetched file, in bytes")
    min_free_disk_bytes: int = _setting(
        2_000_000_000,
        _integer(0, 10**15),
        "pause background extraction below this much free space on the disk of CACHE_DIR, in bytes",
    )
    keep_versions: int = _setting(
        20, _integer(1, 100_000), "number of trained versions to keep per control; the one in use is always kept"
    )
    predict_wait_seconds: float = _setting(
        15.0, _number(0, 90), "longest time that a prediction request waits for videos that are not extracted yet"
    )

    push_predictions: bool = _setting(
        True,
        parse_bool,
        "send predictions of tasks without annotations to Label Studio after each new version; if false, send only "
        "those that Label Studio asked for and that were not ready in time",
    )
    push_quiet_seconds: float = _setting(
        20.0, _number(0, 86400), "wait this long after the last new version before sending predictions"
    )
    push_max_tasks: int = _setting(
        200,
        _integer(1, 1_000_000),
        "maximum number of tasks that receive predictions after a new version: those that the model is least sure of",
    )
    push_keep_superseded: bool = _setting(
        False, parse_bool, "keep predictions of earlier versions in Label Studio; if false, new predictions replace them"
    )
    sync_page: bool = _setting(
        False, parse_bool, "enable the page /sync, where people upload recordings of several cameras to put them on one clock"
    )
    sync_max_bytes: int = _setting(
        20_000_000_000, parse_size, "maximum total size of the recordings of one comparison at /sync, such as 20GB"
    )
    sync_keep_hours: float = _setting(
        72.0, _number(0.01, 100_000), "hours after its last change until a comparison at /sync is deleted with its recordings"
    )

    def __post_init__(self) -> None:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            raise SettingsError("BASIC_AUTH_USER and BASIC_AUTH_PASS must be set together")
        for name in ("model_root", "cache_dir", "data_dir"):
            object.__setattr__(self, name, getattr(self, name).expanduser().absolute())

    @classmethod
    def from_env(cls, environ: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> "Settings":
        """Settings from environment variables, overridden by ``overrides`` (field name -> text).

        An empty variable counts as not set. For a secret ``NAME``, ``NAME_FILE`` may be the path of a file that contains it.
        Raises SettingsError that names the variable, its value and what was expected.
        """
        values: dict[str, Any] = {}
        for item in fields(cls):
            name = item.name.upper()
            candidates = [(overrides or {}).get(item.name), environ.get(name), environ.get(item.metadata["also"] or "")]
            text = next((c for c in candidates if c), None)
            if item.metadata["secret"] and not (overrides or {}).get(item.name):
                text = _secret(name, text, environ.get(f"{name}_FILE"))
            if text is None:
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                shown = "(hidden)" if item.metadata["secret"] else repr(text)
                raise SettingsError(f"{name}: {error}, found {shown}") from None
        return cls(**values)

    def to_env(self) -> dict[str, str]:
        """Environment that gives a child process these settings."""
        values = {item.name.upper(): _as_text(getattr(self, item.name)) for item in fields(self)}
        return {**values, **{f"{item.name.upper()}_FILE": "" for item in fields(self) if item.metadata["secret"]}}


def _secret(name: str, text: str | None, file: str | None) -> str | None:
    """Secret from its variable, or from the file named by NAME_FILE. Raises SettingsError."""
    if not file:
        return text
    if text:
        raise SettingsError(f"{name} and {name}_FILE are both set; unset one of them")
    try:
        with open(file, encoding="utf-8") as lines:
            secret = lines.read(MAX_SECRET_CHARS).strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{name}_FILE: cannot read {file!r}: {reason}") from None
    if not secret or "\n" in secret:
        raise SettingsError(f"{name}_FILE: expected one line in {file!r}, found {'several' if secret else 'none'}")
    return secret


def _as_text(value: Any) -> str:
    if isinstance(value, tuple):
        return (os.pathsep if value and isinstance(value[0], Path) else ",").join(str(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def describe_settings() -> list[tuple[str, str, str]]:
    """(variable, default, help) of every setting, in order, for the table in the documentation."""
    rows = []
    for item in fields(Settings):
        also = f" (or {item.metadata['also']})" if item.metadata["also"] else ""
        file = f"; or {item.name.upper()}_FILE, a file that contains it" if item.metadata["secret"] else ""
        rows.append((item.name.upper(), _as_text(item.default), item.metadata["help"] + also + file))
    return rows
