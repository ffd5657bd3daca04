"""Safety of the pages: headers, who may press a button, and whether a request came from one of our own forms."""

import hmac
import ipaddress
import secrets

from flask import Response, request
from werkzeug.exceptions import Forbidden

from framewise.settings import Settings

COOKIE = "framewise_form"
ONLY_HERE = (
    "without BASIC_AUTH_USER and BASIC_AUTH_PASS, buttons work on the machine that framewise runs on alone, by the address "
    "localhost; set both to use them from elsewhere"
)
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")  # set by proxies, behind which everybody seems to be near
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": with that a browser sends its own forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def wants_page() -> bool:
    """True if a request comes from a browser that shows it: Label Studio and scripts take anything, or JSON."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def secured(response: Response) -> Response:
    """The response with what a browser should keep to."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-cache")
    response.vary.add("Accept")
    return response


def may_act(settings: Settings) -> bool:
    """True if the client may press buttons: it gave the password or, if none is set, is this machine itself."""
    if settings.basic_auth_user:
        return True  # checked before any page is made
    # By name as well: a page elsewhere can have its own name lead to 127.0.0.1.
    return _is_loopback(request.remote_addr or "") and _is_local_name(request.host) and not _is_forwarded()


def form_token() -> str:
    """The token of this browser's forms: the one that it has, or a new one for ``remember``."""
    known = request.cookies.get(COOKIE, "")
    return known if len(known) == 43 and known.replace("-", "").replace("_", "").isalnum() else secrets.token_urlsafe(32)


def remember(response: Response, token: str) -> None:
    """Have the browser send the token back, from our own pages alone."""
    response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.is_secure)


def check_form(token: str | None = None) -> None:
    """Raises Forbidden for a form that was not one of ours: sent by a page of another site.

    token: as it was sent where the body is no form."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    # Browsers of today say the former; it is right behind a proxy too, where our own address looks like another origin.
    ours = site == "same-origin" if site else origin in (None, f"{request.scheme}://{request.host}")
    if not ours:
        raise Forbidden("this form came from another site; open the page here and press the button again")
    given = request.form.get("token", "") if token is None else token
    known = request.cookies.get(COOKIE, "")
    if not known or not hmac.compare_digest(given.encode(), known.encode()):
        raise Forbidden("this form is out of date, or cookies are blocked; reload the page and press the button again")


def _is_forwarded() -> bool:
    return any(name in request.headers for name in FORWARDED)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def host_name(host: str) -> str:
    """A Host header without its port, and an address of IPv6 without its brackets."""
    return (host.rsplit(":", 1)[0] if not host.endswith("]") else host).strip("[]")


def _is_local_name(host: str) -> bool:
    name = host_name(host)
    return name == "localhost" or _is_loopback(name)
