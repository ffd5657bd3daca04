"""Refusal of requests from pages of other web sites, on every route.

In a visitor's browser, such a page can reach any server that the visitor's machine can reach. Either it sends requests under
its own name, which browsers report in Origin and Sec-Fetch-Site; or its host name resolves to the server's address (DNS
rebinding), which the Host header reveals.
"""

import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from flask import request
from werkzeug.exceptions import Forbidden

from framewise.server.pages.guard import host_name
from framewise.settings import Settings

ANY_ADDRESS = ("0.0.0.0", "::", "")


class ForeignPage(Forbidden):
    """A request that a page of another web site may have sent."""


def refuse_foreign_pages(settings: Settings) -> Callable[[], None]:
    """Before-request function that returns or raises ForeignPage. With a password, only Origin and Sec-Fetch-Site are checked,
    because a request under another host name lacks the password."""
    names = own_names(settings)

    def check() -> None:
        host = host_name(request.host).lower().rstrip(".")
        if not settings.basic_auth_user and not _is_address(host) and host not in names:
            raise ForeignPage(
                f"framewise does not answer to the host name {host!r} without a password: set ALLOWED_HOSTS={host}, or "
                "BASIC_AUTH_USER and BASIC_AUTH_PASS"
            )
        if _is_foreign():
            raise ForeignPage("this request came from a page of another web site; open framewise's own pages instead")

    return check


def own_names(settings: Settings) -> frozenset[str]:
    """Host names under which framewise answers. IP addresses are always allowed: no other site has one as its name."""
    found = {"localhost", settings.host.lower(), *settings.allowed_hosts}
    if settings.host in ANY_ADDRESS:
        found |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(found)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_foreign() -> bool:
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site in ("cross-site", "same-site"):
        # Following a link shows our page to its visitor only.
        shown = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.headers.get("Sec-Fetch-Dest") == "document"
        return not (shown and request.method in ("GET", "HEAD"))
    # Current browsers send the former, which is right behind a proxy too, where the latter may differ from our address.
    return site is None and origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
