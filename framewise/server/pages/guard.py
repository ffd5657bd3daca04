"""Protection of the pages: headers, permission to press buttons, and verification of forms."""

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
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")  # set by proxies, behind which every client seems to be local
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer", with which browsers send our own forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def wants_page() -> bool:
    """True if a request comes from a browser for display: Label Studio and scripts accept anything, or JSON."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def secured(response: Response) -> Response:
    """Add security headers to a response."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-cache")
    response.vary.add("Accept")
    return response


def may_act(settings: Settings) -> bool:
    """True if the client may press buttons: it has sent the password or, if none is set, runs on this machine."""
    if settings.basic_auth_user:
        return True  # checked before every page
    # The name is checked as well, because another site's name can resolve to 127.0.0.1.
    return _is_loopback(request.remote_addr or "") and _is_local_name(request.host) and not _is_forwarded()


def form_token() -> str:
    """Token of this browser's forms: from its cookie, or a new one for ``remember``."""
    known = request.cookies.get(COOKIE, "")
    return known if len(known) == 43 and known.replace("-", "").replace("_", "").isalnum() else secrets.token_urlsafe(32)


def remember(response: Response, token: str) -> None:
    """Set the token as a cookie, which browsers send back only from our own pages."""
    response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.is_secure)


def check_form(token: str | None = None) -> None:
    """Raises Forbidden for a form that a page of another site sent.

    token: of the request, if its body is not a form."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    # Current browsers send the former, which is right behind a proxy too, where our own address looks like another origin.
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
    """Host header without its port; an IPv6 address without its brackets."""
    return (host.rsplit(":", 1)[0] if not host.endswith("]") else host).strip("[]")


def _is_local_name(host: str) -> bool:
    name = host_name(host)
    return name == "localhost" or _is_loopback(name)
