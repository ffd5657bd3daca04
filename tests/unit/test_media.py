"""From an address in a task to a file: what may be read, what identifies it, who sees the key.

Servers here are real ones, on loopback ports.
"""

import base64
import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from framewise.core.errors import LabelStudioError, MediaError, MediaForbidden
from framewise.label_studio import LabelStudioClient
from framewise.media.library import MediaLibrary

LEGACY_KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Page:
    """What a server answers for a path; ``cut`` closes the connection after so many bytes of the body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class Server:
    """A web server with ``pages`` by path that notes every request; ``bodies`` counts the bodies that it sent in full."""

    def __init__(self):
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.bodies = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    @property
    def paths(self):
        return [path for path, _ in self.requests]

    def _handler(server):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                server.answer(self, server.pages.get(self.path, Page(b"nothing here", 404)))

            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.do_GET()

            def log_message(self, *args):
                pass

        return Handler

    def answer(self, handler, page):
        validators = (("etag", "if-none-match"), ("last-modified", "if-modified-since"))
        asked = {name.lower(): value for name, value in handler.headers.items()}
        same = any(name in page.headers and asked.get(question) == page.headers[name] for name, question in validators)
        handler.send_response(304 if same else page.status)
        for name, value in page.headers.items():
            handler.send_header(name, value)
        if same:
            handler.end_headers()
            return
        handler.send_header("content-length", str(len(page.body)))
        handler.end_headers()
        handler.wfile.write(page.body[: page.cut])
        self.bodies += page.cut is None


@pytest.fixture
def server():
    started = Server()
    yield started
    started.close()


@pytest.fixture
def other_server():
    started = Server()
    yield started
    started.close()


@pytest.fixture
def library(tmp_path):
    """Makes a library; ``label_studio`` is its address, hosts and roots are allowed."""

    def make(label_studio=None, hosts=("127.0.0.1",), roots=(), key=LEGACY_KEY):
        return MediaLibrary(tmp_path / "data", LabelStudioClient(label_studio, key), tuple(roots), tuple(hosts))

    return make


def downloaded(tmp_path):
    """Every file below the folder of downloads."""
    return [path for path in (tmp_path / "data" / "downloads").rglob("*") if path.is_file()]


# Local files.


def test_a_file_below_an_allowed_folder_is_read_and_identified_by_its_bytes(tmp_path, library):
    path = tmp_path / "videos" / "deep" / "clip.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"some video")
    file = library(roots=[tmp_path / "videos"]).open(str(path))
    assert file.path == path
    assert file.content == hashlib.sha256(b"some video").hexdigest()


def test_the_same_bytes_under_two_names_are_one_content(tmp_path, library):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"some video")
    media = library(roots=[tmp_path])
    assert media.open(str(tmp_path / "a.mp4")).content == media.open(str(tmp_path / "b.mp4")).content


def forbidden_paths(tmp_path):
    """Ways out of ``tmp_path / "allowed"``, to a file that is there and to one that is not."""
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    allowed.mkdir()
    outside.mkdir()
    (tmp_path / "allowed-too").mkdir()
    for folder in (outside, tmp_path / "allowed-too"):
        (folder / "there.mp4").write_bytes(b"secret")
    (allowed / "link").symlink_to(outside)
    ways = (outside, allowed / ".." / "outside", allowed / "link", tmp_path / "allowed-too")
    return [(str(way / "there.mp4"), str(way / "not-there.mp4")) for way in ways]


def test_no_way_out_of_the_allowed_folder_and_no_word_on_what_exists_there(tmp_path, library):
    ways = forbidden_paths(tmp_path)
    media = library(roots=[tmp_path / "allowed"])
    for call in (media.open, media.peek, media.stamp):
        for there, not_there in ways:
            messages = []
            for path in (there, not_there):
                with pytest.raises(MediaForbidden, match="not below any folder of LOCAL_FILES_ROOTS") as caught:
                    call(path)
                messages.append(str(caught.value).replace(path, "PATH"))
            assert messages[0] == messages[1]


def test_without_allowed_folders_no_path_is_read(tmp_path, library):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(MediaForbidden):
        library().open(str(tmp_path / "clip.mp4"))


def test_a_relative_path_leads_nowhere(tmp_path, library, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "allowed").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(MediaForbidden):
        library(roots=[tmp_path / "allowed"]).open("clip.mp4")


def test_a_link_that_stays_inside_is_read(tmp_path, library):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    assert library(roots=[tmp_path]).open(str(tmp_path / "link.mp4")).path == tmp_path / "clip.mp4"


def test_a_missing_file_below_an_allowed_folder_is_named(tmp_path, library):
    with pytest.raises(MediaError, match=r"gone\.mp4: there is no such file"):
        library(roots=[tmp_path]).open(str(tmp_path / "gone.mp4"))


def test_a_folder_is_no_file(tmp_path, library):
    with pytest.raises(MediaError, match="there is no such file"):
        library(roots=[tmp_path]).open(str(tmp_path))


@pytest.mark.parametrize("name", ["a" * 300 + ".mp4", "zero\0byte.mp4"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, library, name):
    with pytest.raises(MediaError):
        library(roots=[tmp_path]).open(f"{tmp_path}/{name}")


def test_a_replaced_file_has_a_new_content(tmp_path, library):
    path = tmp_path / "clip.mp4"
    media = library(roots=[tmp_path])
    path.write_bytes(b"first video")
    first, stamp = media.open(str(path)).content, media.stamp(str(path))
    path.write_bytes(b"the second video")
    assert media.peek(str(path)) is None
    assert media.stamp(str(path)) != stamp
    assert media.open(str(path)).content == hashlib.sha256(b"the second video").hexdigest() != first


@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_that_is_replaced_with_its_size_and_time_kept_has_a_new_content(tmp_path, library, in_place):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"video one")
    media = library(roots=[tmp_path])
    media.open(str(path))
    before = path.stat()
    time.sleep(0.02)  # file systems note the time of a change in steps of a few milliseconds
    if in_place:
        path.write_bytes(b"video two")
    else:
        (tmp_path / "new.mp4").write_bytes(b"video two")
        os.replace(tmp_path / "new.mp4", path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert media.open(str(path)).content == hashlib.sha256(b"video two").hexdigest()


def test_a_file_that_was_opened_is_known_without_reading_it(tmp_path, library):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    media = library(roots=[tmp_path])
    assert media.peek(str(tmp_path / "clip.mp4")) is None
    opened = media.open(str(tmp_path / "clip.mp4"))
    assert media.peek(str(tmp_path / "clip.mp4")) == opened
    assert library(roots=[tmp_path]).peek(str(tmp_path / "clip.mp4")) == opened  # another process


# Files from the web.


def test_a_file_is_fetched_to_disk_and_identified_by_its_bytes(library, server):
    server.pages["/a.mp4"] = Page(b"some video")
    file = library().open(server.url + "/a.mp4")
    assert file.path.read_bytes() == b"some video"
    assert file.content == hashlib.sha256(b"some video").hexdigest()


@pytest.mark.parametrize("validator", [{"etag": '"v1"'}, {"last-modified": "Wed, 01 Jan 2025 00:00:00 GMT"}])
def test_an_unchanged_file_is_not_fetched_again(library, server, validator):
    server.pages["/a.mp4"] = Page(b"some video", headers=validator)
    first = library().open(server.url + "/a.mp4")
    assert library().open(server.url + "/a.mp4") == first
    assert library().peek(server.url + "/a.mp4") == first
    assert len(server.requests) == 3
    assert server.bodies == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"etag": '"v1"'}, {"etag": '"v2"'}),
        ({"last-modified": "Wed, 01 Jan 2025 00:00:00 GMT"}, {"last-modified": "Thu, 02 Jan 2025 00:00:00 GMT"}),
        ({}, {}),
    ],
)
def test_a_changed_file_is_fetched_again(library, server, before, after):
    server.pages["/a.mp4"] = Page(b"first video", headers=before)
    library().open(server.url + "/a.mp4")
    server.pages["/a.mp4"] = Page(b"other video", headers=after)
    assert library().peek(server.url + "/a.mp4") is None
    file = library().open(server.url + "/a.mp4")
    assert file.content == hashlib.sha256(b"other video").hexdigest()
    assert file.path.read_bytes() == b"other video"


def test_a_file_that_was_removed_from_disk_is_fetched_again(library, server):
    server.pages["/a.mp4"] = Page(b"some video", headers={"etag": '"v1"'})
    library().open(server.url + "/a.mp4").path.unlink()
    assert library().open(server.url + "/a.mp4").path.read_bytes() == b"some video"


def test_two_addresses_are_two_files(library, server):
    server.pages |= {"/clip?id=1": Page(b"one"), "/clip?id=2": Page(b"two")}
    assert [library().open(f"{server.url}/clip?id={n}").path.read_bytes() for n in (1, 2)] == [b"one", b"two"]


def test_a_host_that_is_not_allowed_is_not_asked(library, server):
    server.pages["/a.mp4"] = Page(b"x")
    with pytest.raises(MediaForbidden, match=r"host '127\.0\.0\.1' is not allowed; add it to MEDIA_HOSTS"):
        library(hosts=("media.example",)).open(server.url + "/a.mp4")
    assert server.requests == []


def test_any_host_may_be_allowed(library, server):
    server.pages["/a.mp4"] = Page(b"x")
    assert library(hosts=("*",)).open(server.url + "/a.mp4").path.read_bytes() == b"x"


def test_a_user_in_an_address_is_not_taken_for_its_host(library, server):
    with pytest.raises(MediaForbidden, match=r"host '127\.0\.0\.1' is not allowed"):
        library(hosts=("media.example",)).open(f"http://media.example@127.0.0.1:{server.port}/a.mp4")
    assert server.requests == []


def test_a_redirect_is_followed(library, server):
    server.pages |= {"/a.mp4": Page(status=302, headers={"location": "/b.mp4"}), "/b.mp4": Page(b"moved")}
    assert library().open(server.url + "/a.mp4").path.read_bytes() == b"moved"


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(library, server, other_server):
    server.pages["/a.mp4"] = Page(status=302, headers={"location": f"http://localhost:{other_server.port}/b.mp4"})
    other_server.pages["/b.mp4"] = Page(b"secret")
    with pytest.raises(MediaForbidden, match="host 'localhost' is not allowed"):
        library(hosts=("127.0.0.1",)).open(server.url + "/a.mp4")
    assert other_server.requests == []


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/a.mp4"])
def test_a_redirect_out_of_the_web_is_not_followed(library, server, location):
    server.pages["/a.mp4"] = Page(status=302, headers={"location": location})
    with pytest.raises(MediaError, match="is no address: expected http or https"):
        library(hosts=("*",)).open(server.url + "/a.mp4")


def test_a_redirect_to_no_address_is_named(library, server):
    server.pages["/a.mp4"] = Page(status=302, headers={"location": "http://127.0.0.1:99999/b.mp4"})
    with pytest.raises(MediaError, match=r"'http://127\.0\.0\.1:99999/b\.mp4' is no address"):
        library().open(server.url + "/a.mp4")


def test_redirects_in_a_circle_end(library, server):
    server.pages["/a.mp4"] = Page(status=302, headers={"location": "/a.mp4"})
    with pytest.raises(MediaError, match="more than 5 redirects"):
        library().open(server.url + "/a.mp4")
    assert len(server.requests) == 6


def test_an_interrupted_download_leaves_nothing_that_counts(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"x" * 100_000, cut=50_000)
    with pytest.raises(MediaError, match=r"127\.0\.0\.1.*/a\.mp4: could not be fetched"):
        library().open(server.url + "/a.mp4")
    assert downloaded(tmp_path) == []
    server.pages["/a.mp4"] = Page(b"x" * 100_000)
    assert library().open(server.url + "/a.mp4").path.stat().st_size == 100_000


def test_a_server_that_is_not_there(library):
    gone = Server()
    gone.close()
    with pytest.raises(MediaError, match="could not be fetched, ConnectError"):
        library().open(gone.url + "/a.mp4")


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, MediaForbidden, "answered 401; may the user of LABEL_STUDIO_API_KEY see this file"),
        (403, MediaForbidden, "answered 403; may the user of LABEL_STUDIO_API_KEY see this file"),
        (404, MediaError, "expected a file, the server answered 404"),
        (500, MediaError, "expected a file, the server answered 500"),
    ],
)
def test_an_answer_that_is_no_file_is_named_and_not_kept(tmp_path, library, server, status, kind, message):
    server.pages["/a.mp4"] = Page(b"an error page", status)
    with pytest.raises(kind, match=message):
        library().open(server.url + "/a.mp4")
    assert downloaded(tmp_path) == []


def test_an_error_does_not_show_the_secrets_of_an_address(library, server):
    with pytest.raises(MediaError) as caught:
        library().open(f"http://ann:passw0rd@127.0.0.1:{server.port}/a.mp4?signature=s3cret")
    assert "passw0rd" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("source", ["s3://bucket/a.mp4", "ftp://host/a.mp4", "file:///etc/hostname", "gs://b/a.mp4"])
def test_other_schemes_are_refused(tmp_path, library, source):
    with pytest.raises(MediaError, match=f"addresses of scheme '{source.split(':')[0]}' are not read"):
        library(hosts=("*",), roots=[tmp_path]).open(source)


@pytest.mark.parametrize("source", ["http://127.0.0.1:99999/a.mp4", "http://[::1/a.mp4", "http:///a.mp4", "http://a\0b/c.mp4"])
def test_an_address_that_is_none_is_refused(library, source):
    media = library("http://127.0.0.1:8080", hosts=("*",))
    for call in (media.open, media.peek):
        with pytest.raises(MediaError):
            call(source)


# Label Studio's own files, and its key.


@pytest.mark.parametrize("source", ["/data/upload/1/a.mp4", "data/upload/1/a.mp4"])
def test_an_upload_is_fetched_from_label_studio_with_the_key(library, server, source):
    server.pages["/data/upload/1/a.mp4"] = Page(b"an upload")
    assert library(server.url, hosts=()).open(source).path.read_bytes() == b"an upload"
    ((_, headers),) = server.requests
    assert headers["authorization"] == f"Token {LEGACY_KEY}"


@pytest.mark.parametrize("source", ["/data/upload/1/a.mp4", "/ls/data/upload/1/a.mp4"])
def test_an_upload_of_label_studio_behind_a_path_prefix(library, server, source):
    server.pages["/ls/data/upload/1/a.mp4"] = Page(b"an upload")
    assert library(server.url + "/ls", hosts=()).open(source).path.read_bytes() == b"an upload"
    assert server.paths == ["/ls/data/upload/1/a.mp4"]


def test_a_local_file_of_label_studio_keeps_its_query(library, server):
    server.pages["/data/local-files/?d=videos/a.mp4"] = Page(b"a local file")
    assert library(server.url, hosts=()).open("/data/local-files/?d=videos/a.mp4").path.read_bytes() == b"a local file"


def test_a_plain_path_below_data_is_no_file_of_label_studio(library, server):
    with pytest.raises(MediaForbidden, match="LOCAL_FILES_ROOTS"):
        library(server.url).open("/data/videos/a.mp4")
    assert server.requests == []


def test_an_upload_that_was_fetched_is_known_without_asking(library, server):
    server.pages["/data/upload/1/a.mp4"] = Page(b"an upload")
    opened = library(server.url).open("/data/upload/1/a.mp4")
    assert library(server.url).peek("/data/upload/1/a.mp4") == opened
    assert len(server.requests) == 1


def test_an_upload_without_the_address_of_label_studio_is_refused_with_the_cure(library):
    with pytest.raises(LabelStudioError, match=r"/data/upload/1/a\.mp4 .*set LABEL_STUDIO_URL"):
        library(None).open("/data/upload/1/a.mp4")


def test_the_key_goes_to_no_other_port(library, server, other_server):
    other_server.pages["/a.mp4"] = Page(b"x")
    assert library(server.url).open(other_server.url + "/a.mp4").path.read_bytes() == b"x"
    ((_, headers),) = other_server.requests
    assert "authorization" not in headers


def test_the_key_does_not_follow_a_redirect(library, server, other_server):
    server.pages["/data/upload/1/a.mp4"] = Page(status=303, headers={"location": other_server.url + "/signed.mp4"})
    other_server.pages["/signed.mp4"] = Page(b"from the cloud")
    assert library(server.url).open("/data/upload/1/a.mp4").path.read_bytes() == b"from the cloud"
    ((_, asked),) = server.requests
    assert asked["authorization"] == f"Token {LEGACY_KEY}"
    ((_, headers),) = other_server.requests
    assert "authorization" not in headers


def test_label_studio_as_a_user_name_does_not_get_another_host_the_key(library, server, other_server):
    other_server.pages["/a.mp4"] = Page(b"x")
    library(server.url).open(f"http://127.0.0.1:{server.port}@127.0.0.1:{other_server.port}/a.mp4")
    ((_, headers),) = other_server.requests
    assert LEGACY_KEY not in json.dumps(headers)
    assert server.requests == []


def test_a_personal_access_token_is_exchanged_and_never_sent_with_a_file(library, server):
    def jwt(kind, seconds):
        claims = {"token_type": kind, "exp": int(time.time()) + seconds, "iat": int(time.time()), "jti": kind, "user_id": 1}
        parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, b"signature"))

    personal, access = jwt("refresh", 10**6), jwt("access", 300)
    server.pages["/api/token/refresh"] = server.pages["/api/token/refresh/"] = Page(
        json.dumps({"access": access}).encode(), headers={"content-type": "application/json"}
    )
    server.pages["/data/upload/1/a.mp4"] = Page(b"an upload")
    assert library(server.url, key=personal).open("/data/upload/1/a.mp4").path.read_bytes() == b"an upload"
    path, headers = server.requests[-1]
    assert path == "/data/upload/1/a.mp4"
    assert headers["authorization"] == f"Bearer {access}"
