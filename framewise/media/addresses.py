"""Allowed addresses of media, and connections pinned to the addresses that were checked.

Addresses in tasks are untrusted, and so are the answers of the name servers that they lead to. Therefore a name is resolved
once, every result is checked, and the connection goes to a checked IP address rather than to the name again. The name is used
only for TLS and the Host header.
"""

import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpcore
import httpx

from framewise.core.errors import MediaError, MediaForbidden, MediaUnavailable, SettingsError

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[str, int, float], httpcore.NetworkStream]

# Metadata services of clouds, which give a machine's secrets to any program on it: allowed only if listed by their exact
# address. Some are in public networks (168.63.129.16 of Azure), some in networks that users may list (fd00::/8).
METADATA_SERVICES = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Google, Azure, OpenStack, ...
        "169.254.170.2",  # AWS, containers
        "169.254.170.23",  # AWS, EKS
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS, EKS
        "fd20:ce::254",  # Google
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
    )
)
# IPv6 addresses that embed an IPv4 address, which is the one that is checked.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Tunnels to IPv4 addresses of the sender's choice. https://www.iana.org/assignments/ipv6-unicast-address-assignments
LOCAL_FILES = ("/local-files", "/local-files/")  # how Label Studio's addresses of them end, before the query
LOOK_SECONDS = 1.0  # between two looks at a server that sends nothing
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_TUNNELS = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")


class MediaHosts:
    """Hosts from which media may be fetched, listed in MEDIA_HOSTS.

    An entry is a name, ``*.example.org`` for all names below one, ``*`` for any name, an IP address, or a network
    (``192.168.1.0/24``). Names and ``*`` allow only public addresses; an address or a network allows itself.
    """

    def __init__(self, entries: Iterable[str]):
        self._networks, self._names = [], set()
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]")))
            except ValueError:
                self._names.add(entry if entry == "*" else _name_of_entry(entry))

    def may_ask(self, host: str) -> bool:
        """True if a host, as returned by ``host_of``, is listed."""
        literal = as_address(host)
        if "*" in self._names or host in self._names or (literal and self._lists(literal)):
            return True
        return not literal and any(name.startswith("*.") and host.endswith(name[1:]) for name in self._names)

    def may_reach(self, address: Address) -> bool:
        """True if connections to an IP address are allowed: it is public, or it or its network is listed."""
        address = _without_disguise(address)
        if address in METADATA_SERVICES:
            return any(network.num_addresses == 1 and address in network for network in self._networks)
        return self._lists(address) or _is_public(address)

    def _lists(self, address: Address) -> bool:
        return any(_without_disguise(address) in network for network in self._networks)


def _name_of_entry(entry: str) -> str:
    below = "*." if entry.startswith("*.") else ""
    try:
        return below + host_of(httpx.URL(f"http://{entry.removeprefix(below)}"))
    except httpx.InvalidURL as error:
        raise SettingsError(f"MEDIA_HOSTS: {entry!r} is not a host name: {error}") from None


def _without_disguise(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_unspecified:
        return False
    return address.version == 4 or (address in _GLOBAL_UNICAST and not any(address in tunnel for tunnel in _TUNNELS))


def as_address(host: str) -> Address | None:
    """IP address of a numeric host, including the spellings of inet_aton that systems still accept (``127.1``,
    ``2130706433``, ``0x7f.1``); None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except (OSError, ValueError):
        return None


def checked_url(url: str) -> httpx.URL:
    """Parse a URL once, so that the checked URL is the one that is used. User and password are removed.

    Raises MediaError for another scheme than http and https, a missing host, an invalid port, and backslashes, which parsers of
    URLs interpret differently.
    """
    try:
        read = httpx.URL(url)
        host = host_of(read)
        usable = read.scheme in ("http", "https") and (read.port is None or 0 < read.port < 65536) and "\\" not in url
        if usable and "%" not in host and (_HOST_NAME.fullmatch(host) or as_address(host)):
            return read.copy_with(userinfo=b"", fragment=None)
    except (httpx.InvalidURL, ValueError, TypeError):  # their messages contain parts of the address, which may be secret
        pass
    raise MediaError(f"{shown(url)!r} is not an address: expected http or https, and a host")


def host_of(url: httpx.URL) -> str:
    """Host of a URL in canonical form: ASCII, lower case, without a final dot."""
    return url.raw_host.decode("ascii").lower().rstrip(".")


def shown(url: str | httpx.URL) -> str:
    """A URL without user and query, which may contain secrets, but with Label Studio's path of a local file."""
    try:
        parts = httpx.URL(url)
        file = parts.params.get("d") if parts.path.endswith(LOCAL_FILES) else None
        plain = str(parts.copy_with(userinfo=b"", query=None, fragment=None))
        return f"{plain}?d={file}" if file else plain
    except (httpx.InvalidURL, ValueError, TypeError):
        return re.sub("//.*@", "//", str(url), flags=re.DOTALL).partition("?")[0].partition("#")[0]


# Connections.


def system_resolver(host: str, port: int) -> list[str]:
    """IP addresses of a name from the system's resolver. Raises OSError."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def system_connect(address: str, port: int, timeout: float) -> httpcore.NetworkStream:
    """Open a TCP connection. Raises httpcore.ConnectError, httpcore.ConnectTimeout."""
    return httpcore.SyncBackend().connect_tcp(address, port, timeout)


@dataclass(frozen=True)
class Network:
    """Name resolution and connections; replaced in tests."""

    resolve: Resolve = system_resolver
    connect: Connect = system_connect

    def addresses(self, url: httpx.URL, hosts: MediaHosts | None) -> list[str]:
        """IP addresses of a URL's host, all allowed by ``hosts``; None allows any.

        Raises MediaForbidden if one of them is not allowed, MediaUnavailable if the name has no address at the moment.
        """
        host, port = host_of(url), url.port or (443 if url.scheme == "https" else 80)
        literal = as_address(host)
        try:
            found = [str(literal)] if literal else list(self.resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise MediaUnavailable(f"{shown(url)}: host {host!r} cannot be resolved: {error}") from None
        if hosts:
            for address in found:
                if not hosts.may_reach(ipaddress.ip_address(address)):
                    # The address goes only into the log: errors are shown to people who may have entered the name.
                    logger.warning("host %r leads to %s, which is not public and not listed in MEDIA_HOSTS", host, address)
                    raise MediaForbidden(
                        f"{shown(url)}: host {host!r} leads to an address that is not public; the log names it. If media may "
                        "be fetched from there, add the address or its network (such as 192.168.1.0/24) to MEDIA_HOSTS"
                    )
        return found


class Deadline:
    """Time limit of a server for one file: ``first_seconds``, plus time for each received byte at the lowest accepted speed,
    up to ``longest_seconds`` in total."""

    def __init__(self, first_seconds: float, slowest_bytes_per_second: float, longest_seconds: float):
        self._slowest = slowest_bytes_per_second
        self._end = time.monotonic() + first_seconds
        self._last_end = time.monotonic() + longest_seconds

    def earn(self, num_bytes: int) -> None:
        self._end += num_bytes / self._slowest

    def left(self, wanted: float | None) -> float:
        """Seconds to wait for the next byte, at most ``wanted``. Raises httpcore.ReadTimeout if no time is left."""
        left = min(self._end, self._last_end) - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("it sends too slowly, or endlessly")
        return left if wanted is None else min(wanted, left)


class PinnedBackend(httpcore.NetworkBackend):
    """Network backend that connects to one of ``addresses`` instead of the requested host; if they are None, to that host, a
    proxy.

    Every wait is limited by the deadline, even while a server sends its headers byte by byte. received: called with the number
    of bytes that were received, and every second with 0 while there are none; it may raise.
    """

    def __init__(self, connect: Connect, addresses: Sequence[str] | None, deadline: Deadline, received: Callable[[int], None]):
        self._connect = connect
        self._addresses = addresses
        self._deadline = deadline
        self._received = received

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("it has no address")
        for address in [host] if self._addresses is None else self._addresses:
            try:
                stream = self._connect(address, port, self._deadline.left(timeout))
                return _TimedStream(stream, self._deadline, self._received)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _TimedStream(httpcore.NetworkStream):
    """Connection whose waits are all limited by the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline, received: Callable[[int], None]):
        self._stream = stream
        self._deadline = deadline
        self._received = received

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        end = time.monotonic() + self._deadline.left(timeout)
        while True:
            left = max(end - time.monotonic(), 0.0)
            try:
                data = self._stream.read(max_bytes, min(left, LOOK_SECONDS))
                break
            except httpcore.ReadTimeout:
                if left <= LOOK_SECONDS:
                    raise
                self._received(0)
        self._deadline.earn(len(data))
        self._received(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> "_TimedStream":
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return _TimedStream(stream, self._deadline, self._received)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def file_name(source: str) -> str:
    """File name in an address of task data. Label Studio's local files have it in the query."""
    if source.startswith("{"):  # an inline series
        return "series"
    path = source
    if "://" in source or "/data/" in source:
        url = urlsplit(source)
        path = unquote(url.path)
        if path.endswith(LOCAL_FILES):
            path = parse_qs(url.query).get("d", [""])[0]
    return re.sub(r"[\x00-\x1f\x7f]", "?", PurePosixPath(path).name) or "video"
