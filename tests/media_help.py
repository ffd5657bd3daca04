"""Reading media in tests: what was there while it was open, and a network in which names lead to loopback servers."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

import httpcore

from framewise.media.addresses import Network, system_connect, system_resolver
from framewise.media.library import MediaLibrary

LEGACY_KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Read:
    """Contents of a file while it was open."""

    path: Path
    content: str
    data: bytes


def read(media: MediaLibrary, source: str, task: int | None = None) -> Read:
    with media.opened(source, task) as file:
        return Read(file.path, file.content, file.path.read_bytes())


def downloaded(tmp_path: Path) -> list[Path]:
    """Every file below the folder of downloads that is more than a lock."""
    return [path for path in (tmp_path / "data" / "downloads").rglob("*") if path.is_file() and path.suffix != ".lock"]


def presign_path(uri: str, task: int, word: str = "presign") -> str:
    """Label Studio's address of a file in cloud storage, as in its io_storages/base_models.py, resolve_uri."""
    return f"/tasks/{task}/{word}/?fileuri={base64.urlsafe_b64encode(uri.encode()).decode()}"


@dataclass
class Names:
    """Names and their addresses, and at which loopback port an address is; ``connected`` and ``asked`` note what happened.

    A name may have several lists, for one question after the other. Nothing but loopback is ever connected to.
    """

    addresses: dict[str, list[str] | list[list[str]]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    connected: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def network(self) -> Network:
        return Network(self.resolve, self.connect)

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        found = self.addresses.get(host)
        if found is None:
            raise OSError("Name or service not known")
        if found and isinstance(found[0], list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    def connect(self, address: str, port: int, timeout: float) -> httpcore.NetworkStream:
        self.connected.append(address)
        if address == "127.0.0.1":
            return system_connect(address, port, timeout)
        if address not in self.ports:
            raise httpcore.ConnectError("nobody is there")
        return system_connect("127.0.0.1", self.ports[address], timeout)


def loopback_only(host: str, port: int) -> list[str]:
    """The system's resolver for tests that have no name of their own in it."""
    assert host in ("localhost", "127.0.0.1"), f"a test asked the name service for {host!r}"
    return system_resolver(host, port)
