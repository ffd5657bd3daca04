"""Refusal, on every route, of what a page of another web site asks in its visitor's browser.

Such a page reaches any server that its visitor's machine reaches. It sends requests in its own name, which browsers tell in
Origin and Sec-Fetch-Site; or it has its own host name lead to the server's address (DNS rebinding), which the Host tells.
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
    """A before-request function that returns or raises ForeignPage. With a password only a browser's own words count: nobody
    else's name gets past the password."""
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
    """Host names to which framewise answers; addresses need no name, for no other site can have one as its own."""
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
        # A link that somebody follows shows our page to that person and to nobody else.
        shown = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.headers.get("Sec-Fetch-Dest") == "document"
        return not (shown and request.method in ("GET", "HEAD"))
    # Browsers of today say the former, also behind a proxy, where the latter may differ from our own address.
    return site is None and origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
