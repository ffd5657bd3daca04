"""Requests of foreign pages in a user's browser, on every route: by the name in Host, and by what browsers say of them."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

HTML = {"Accept": "text/html"}
PATHS = ("/", "/health", "/setup", "/predict", "/webhook", "/versions", "/versions/current", "/jobs", "/metrics", "/projects/7")


@pytest.fixture
def app(made: Callable[..., tuple[FlaskClient, Any]]) -> Callable[..., FlaskClient]:
    return lambda **settings: made(**settings)[0]


def status(app: FlaskClient, path: str, method: str = "GET", **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return int(app.open(path, method=method, headers=sent).status_code)


@pytest.mark.parametrize("path", PATHS)
def test_without_a_password_a_name_of_somebody_elses_choice_is_refused_everywhere(
    app: Callable[..., FlaskClient], path: str
) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert status(app(), path, method, Host="rebind.example") == 403


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        ("localhost:9090", {}),
        ("127.0.0.1", {}),
        ("[::1]:9090", {}),
        ("192.168.1.7:9090", {"host": "0.0.0.0"}),
        (socket.gethostname(), {"host": "0.0.0.0"}),
        ("gpu-box", {"host": "gpu-box"}),
        ("Framewise.example.org:443", {"allowed_hosts": ("framewise.example.org",)}),
    ],
)
def test_own_names_and_addresses_are_answered(app: Callable[..., FlaskClient], host: str, settings: dict[str, Any]) -> None:
    assert status(app(**settings), "/health", Host=host) == 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1.rebind.example", "localhost.rebind.example", "rebind.example:127", "", "a b", "[::1"]
)
def test_names_that_look_like_own_ones_are_refused(app: Callable[..., FlaskClient], host: str) -> None:
    assert status(app(allowed_hosts=("framewise",)), "/jobs", Host=host) in (400, 403)


def test_the_refusal_names_the_host_and_both_cures(app: Callable[..., FlaskClient]) -> None:
    answer = app().get("/setup", headers={"Host": "gpu-box:9090"})
    assert "'gpu-box'" in answer.status
    assert "set ALLOWED_HOSTS=gpu-box, or BASIC_AUTH_USER and BASIC_AUTH_PASS" in answer.status


def test_with_a_password_every_name_is_answered_to_those_who_have_it(app: Callable[..., FlaskClient]) -> None:
    made = app(basic_auth_user="ann", basic_auth_pass="secret")
    assert status(made, "/jobs", Host="anything.example") == 401
    answer = made.get("/jobs", headers={"Host": "anything.example"}, auth=("ann", "secret"))
    assert answer.status_code == 200


@pytest.mark.parametrize("path", PATHS[1:])
@pytest.mark.parametrize(
    "said",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8080"},
    ],
)
@pytest.mark.parametrize("password", [None, "secret"])
def test_what_a_page_of_another_site_asks_is_refused(
    app: Callable[..., FlaskClient], path: str, said: dict[str, str], password: str | None
) -> None:
    made = app(basic_auth_user="ann", basic_auth_pass=password) if password else app()
    for method in ("GET", "POST", "DELETE"):
        assert status(made, path, method, **said) == 403


def test_following_a_link_from_another_site_shows_a_page_and_posts_nothing(app: Callable[..., FlaskClient]) -> None:
    followed = {
        "Sec_Fetch_Site": "cross-site",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
        "Accept": "text/html",
    }
    assert status(app(), "/", **followed) == 200
    assert status(app(), "/webhook", "POST", **followed) == 403
    assert status(app(), "/", **{**followed, "Sec_Fetch_Dest": "iframe"}) == 403


def test_own_pages_ask_as_before(app: Callable[..., FlaskClient]) -> None:
    for said in ({"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}, {"Origin": "http://localhost"}, {}):
        assert status(app(), "/live.json", **said) == 200
