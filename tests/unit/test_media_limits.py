"""Limits of what a server may cost (time, bytes, room on the disk), proxies, and certificates of an own authority."""

import gzip
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

import httpcore
import pytest
import trustme

from framewise.core.errors import (
    LabelStudioError,
    LabelStudioUnavailable,
    MediaError,
    MediaForbidden,
    MediaUnavailable,
    StorageFull,
)
from framewise.label_studio import LabelStudioClient
from framewise.label_studio_calls import FIRST_PAUSE_SECONDS
from framewise.media.addresses import Network
from framewise.media.fetch import Limits
from tests.media_help import LEGACY_KEY, Names, downloaded, read
from tests.web_server import Page, Server

PUBLIC = "93.184.216.34"
LONG_SECONDS = 600.0  # no answer is waited for as long, also on a busy machine
HASTY = Limits(silence_seconds=0.3, first_seconds=0.6, slowest_bytes_per_second=10_000.0, longest_seconds=1.8)


def patiently(*parts, pause=0.05, forever=False):
    """Writes an answer in pieces with pauses, over and over if it has no end."""

    def send(handler):
        try:
            for part in parts:
                handler.wfile.write(part)
                time.sleep(pause)
            while forever:
                handler.wfile.write(parts[-1])
                time.sleep(pause)
        except OSError:
            handler.close_connection = True

    return Page(send=send)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n"
SLOW_SERVERS = {
    "says nothing": patiently(b"", pause=LONG_SECONDS),
    "sends its headers byte by byte": patiently(HEAD + b"X-Long: ", b"x", forever=True),
    "sends headers without an end": patiently(HEAD, b"X-More: " + b"x" * 200 + b"\r\n", forever=True),
    "sends its body byte by byte": patiently(HEAD + b"Content-Length: 100000\r\n\r\n", b"x", forever=True),
    "stops in its body": patiently(HEAD + b"Content-Length: 100000\r\n\r\nabc", pause=LONG_SECONDS),
    "sends a body without an end, slowly": patiently(HEAD + b"\r\n", b"x" * 100, forever=True),
    "sends chunks without an end, slowly": patiently(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", forever=True),
    "sends a body without an end, fast enough": patiently(HEAD + b"\r\n", b"x" * 2000, forever=True),
}


@pytest.mark.parametrize("page", SLOW_SERVERS.values(), ids=SLOW_SERVERS)
def test_a_server_that_takes_too_long_is_given_up(tmp_path, library, server, page):
    server.pages["/a.mp4"] = page
    started = time.monotonic()
    with pytest.raises(MediaUnavailable, match="could not be fetched, ReadTimeout|could not be fetched, RemoteProtocolError"):
        read(library(limits=HASTY), server.url + "/a.mp4")
    assert time.monotonic() - started < LONG_SECONDS, "it was the server that gave up"
    assert downloaded(tmp_path) == []


def test_redirects_share_the_time_of_one_fetch(library, server):
    for number in range(6):
        page = Page(status=302, headers={"location": f"/{number + 1}"}, wait=lambda: time.sleep(0.25))
        server.pages[f"/{number}"] = page
    with pytest.raises(MediaUnavailable, match="ReadTimeout"):
        read(library(limits=HASTY), server.url + "/0")
    assert len(server.requests) < 5


def test_a_server_that_is_slow_but_fast_enough_is_waited_for(library, server):
    server.pages["/a.mp4"] = patiently(HEAD + b"Content-Length: 40000\r\n\r\n", *[b"x" * 2000] * 20, pause=0.06)
    assert read(library(limits=HASTY), server.url + "/a.mp4").data == b"x" * 40_000


def test_nobody_at_an_address_is_a_passing_failure(library):
    def connect(address, port, timeout):
        assert timeout <= 10
        raise httpcore.ConnectTimeout("timed out")

    with pytest.raises(MediaUnavailable, match="could not be fetched, ConnectTimeout"):
        read(library(hosts=("*",), network=Network(lambda host, port: [PUBLIC], connect)), "http://media.example/a.mp4")


def test_a_server_that_does_not_answer_a_short_question_leaves_a_file_unknown(library, server, monkeypatch):
    monkeypatch.setattr("framewise.media.fetch.QUICK", HASTY)
    server.pages["/a.mp4"] = Page(b"some video", headers={"etag": '"v1"'})
    content = read(library(), server.url + "/a.mp4").content
    assert library().known_content(server.url + "/a.mp4") == content
    server.pages["/a.mp4"] = SLOW_SERVERS["says nothing"]
    assert library().known_content(server.url + "/a.mp4") is None


# Label Studio's own files.


def test_after_a_download_that_hung_label_studio_is_not_asked_for_a_while(library, server):
    server.pages |= {"/data/upload/1/a.mp4": SLOW_SERVERS["stops in its body"], "/data/upload/1/b.mp4": Page(b"a video")}
    client = LabelStudioClient(server.url, LEGACY_KEY)
    client.auth_headers()  # imports the SDK, for longer than these downloads may take
    media = library(client=client, limits=HASTY)
    with pytest.raises(MediaUnavailable, match="ReadTimeout"):
        read(media, "/data/upload/1/a.mp4")
    for _ in range(5):
        with pytest.raises(LabelStudioUnavailable, match="not asked again for . s, because: .*downloading a file: ReadTimeout"):
            read(media, "/data/upload/1/b.mp4")
    assert server.paths == ["/data/upload/1/a.mp4"]
    time.sleep(FIRST_PAUSE_SECONDS)
    assert read(media, "/data/upload/1/b.mp4").data == b"a video"
    assert client.refusal is None


def test_pauses_grow_while_downloads_hang_and_one_at_a_time_tries_again(library, server):
    entered, go_on = threading.Event(), threading.Event()
    server.pages["/data/upload/1/a.mp4"] = SLOW_SERVERS["says nothing"]
    client = LabelStudioClient(server.url, LEGACY_KEY)
    client.auth_headers()  # imports the SDK, for longer than these downloads may take
    media = library(client=client, limits=HASTY)
    for pause in (FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS):
        with pytest.raises(MediaUnavailable, match="ReadTimeout"):
            read(media, "/data/upload/1/a.mp4")
        assert f"not asked again for {pause:.0f} s" in client.refusal
        time.sleep(pause)

    def wait():
        entered.set()
        go_on.wait(20)

    patient = library(client=client)
    server.pages |= {"/data/upload/1/b.mp4": Page(b"a video", wait=wait), "/data/upload/1/c.mp4": Page(b"another video")}
    first = threading.Thread(target=read, args=(patient, "/data/upload/1/b.mp4"))
    first.start()
    assert entered.wait(20)
    with pytest.raises(LabelStudioUnavailable, match="downloading a file: an earlier call is not answered yet"):
        read(patient, "/data/upload/1/c.mp4")
    go_on.set()
    first.join()
    assert read(patient, "/data/upload/1/c.mp4").data == b"another video"


@pytest.fixture
def studio(server, monkeypatch):
    """A Label Studio with a client that is patient for a second, and what it has under way, now and at most."""
    monkeypatch.setattr("framewise.label_studio_calls.PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr("framewise.media.addresses.LOOK_SECONDS", 0.05)
    client = LabelStudioClient(server.url, LEGACY_KEY)
    client.auth_headers()  # imports the SDK
    made = Studio(server, client)
    yield made
    made.go_on.set()
    made.hang.set()


class Studio:
    """Its files hang from the beginning, flow until ``hang`` is set, or trickle from then on; all end with ``go_on``."""

    def __init__(self, server, client):
        self.server, self.client = server, client
        self.now, self.most = 0, 0
        self.go_on, self.hang, self.flows = threading.Event(), threading.Event(), threading.Semaphore(0)
        server.elsewhere = Page(send=self.send)

    def send(self, handler):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if "hangs" not in handler.path:
                handler.wfile.write(HEAD + b"Content-Length: 1000000000\r\n\r\n")
                while not self.hang.wait(0.01):
                    handler.wfile.write(b"x" * 20_000)
                    self.flows.release()
            while "trickles" in handler.path and not self.go_on.wait(0.02):
                handler.wfile.write(b"x")
            self.go_on.wait(30)
        except OSError:
            pass
        finally:
            self.now -= 1
            handler.close_connection = True

    def await_flow(self):
        for _ in range(10):
            assert self.flows.acquire(timeout=30)


def in_thread(media, name, ended):
    """Fetches an upload in a thread; what it raised is in ``ended`` under its name, with the time when."""

    def run():
        try:
            read(media, f"/data/upload/1/{name}")
        except (MediaError, LabelStudioError) as error:
            ended[name] = error, time.monotonic()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


PATIENT = Limits(silence_seconds=8.0)


def test_one_download_at_most_waits_for_a_label_studio_that_hangs(library, studio):
    media, ended = library(client=studio.client, limits=PATIENT), {}
    threads = [in_thread(media, f"hangs-{n}.mp4", ended) for n in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.join(30)
    assert (studio.most, len(ended)) == (1, 8)
    refused = [at - began for error, at in ended.values() if "an earlier call is not answered yet" in str(error)]
    assert len(refused) == 7
    assert max(refused) < 7  # the one that waits does so for 8 s


def test_threads_that_want_the_same_file_do_not_wait_for_the_one_that_hangs(library, studio):
    media, ended = library(client=studio.client, limits=PATIENT), {}
    first = in_thread(media, "hangs.mp4", {})
    time.sleep(0.1)
    began = time.monotonic()
    in_thread(media, "hangs.mp4", ended).join(30)
    assert "an earlier call is not answered yet" in str(ended["hangs.mp4"][0])
    assert ended["hangs.mp4"][1] - began < 7
    assert first.is_alive()


def test_calls_go_on_beside_a_download_that_keeps_its_pace(library, studio):
    media = library(client=studio.client, limits=PATIENT)
    studio.server.pages |= {"/data/upload/1/b.mp4": Page(b"a video"), "/api/projects/7/": Page(b"{}", status=404)}
    first = in_thread(media, "flows.mp4", {})
    studio.await_flow()
    assert read(media, "/data/upload/1/b.mp4").data == b"a video"
    with pytest.raises(LabelStudioError, match="it answered 404"):
        studio.client.project_state(7)
    assert first.is_alive()


@pytest.mark.parametrize("way", ["stops", "trickles"])
def test_of_two_downloads_that_stop_one_waits_and_the_other_ends(library, studio, way):
    media, ended = library(client=studio.client, limits=PATIENT), {}
    first = in_thread(media, f"{way}-1.mp4", ended)
    studio.await_flow()
    second = in_thread(media, f"{way}-2.mp4", ended)
    while studio.most < 2:
        time.sleep(0.01)
    for _ in range(10):
        studio.await_flow()
    began = time.monotonic()
    studio.hang.set()
    second.join(30)
    error, at = ended[f"{way}-2.mp4"]
    assert "it sends too slowly, and another call is not answered yet" in str(error)
    assert isinstance(error, LabelStudioUnavailable)
    assert at - began < 7
    assert first.is_alive()
    with pytest.raises(LabelStudioUnavailable, match="an earlier call is not answered yet"):
        studio.client.project_state(7)


def test_a_file_that_is_not_there_is_no_reason_not_to_ask_label_studio(library, server):
    media = library(client=LabelStudioClient(server.url, LEGACY_KEY))
    for name in ("a", "b"):
        with pytest.raises(MediaError, match="answered 404"):
            read(media, f"/data/upload/1/{name}.mp4")


# Size and room.


def test_a_file_that_is_too_large_is_refused_before_it_is_fetched(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"x" * 1001)
    with pytest.raises(MediaError, match="larger than 1000 bytes, the most that MEDIA_MAX_BYTES allows"):
        read(library(limits=Limits(max_bytes=1000)), server.url + "/a.mp4")
    assert downloaded(tmp_path) == []
    assert read(library(limits=Limits(max_bytes=1001)), server.url + "/a.mp4").data == b"x" * 1001


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_a_file_that_does_not_say_how_large_it_is_is_cut_off(tmp_path, library, server, head):
    piece = b"3e8\r\n" + b"x" * 1000 + b"\r\n" if head else b"x" * 1000
    server.pages["/a.mp4"] = patiently(HEAD + head + b"\r\n", piece, pause=0, forever=True)
    with pytest.raises(MediaError, match="larger than 100000 bytes"):
        read(library(limits=Limits(max_bytes=100_000)), server.url + "/a.mp4")
    assert downloaded(tmp_path) == []


def test_what_counts_of_a_compressed_file_is_what_it_becomes(tmp_path, library, server):
    bomb = gzip.compress(b"x" * 10_000_000)
    server.pages["/a.mp4"] = Page(bomb, headers={"content-encoding": "gzip"})
    with pytest.raises(MediaError, match="larger than 1000000 bytes"):
        read(library(limits=Limits(max_bytes=1_000_000)), server.url + "/a.mp4")
    assert downloaded(tmp_path) == []
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_a_file_that_a_server_compresses_nevertheless_is_the_file(library, server):
    server.pages["/a.mp4"] = Page(gzip.compress(b"some video"), headers={"content-encoding": "gzip"})
    assert read(library(), server.url + "/a.mp4").data == b"some video"
    server.pages["/a.mp4"] = Page(b"some video", headers={"content-encoding": "br"})
    with pytest.raises(MediaError, match="expected an unencoded file, the server sent it with Content-Encoding 'br'"):
        read(library(), server.url + "/a.mp4")
    server.pages["/a.mp4"] = Page(b"some video", headers={"content-encoding": "gzip"})
    with pytest.raises(MediaError, match="could not be fetched, DecodingError"):
        read(library(), server.url + "/a.mp4")


def test_an_empty_file_is_named(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"")
    with pytest.raises(MediaError, match="the file is empty"):
        read(library(), server.url + "/a.mp4")
    assert downloaded(tmp_path) == []


def test_a_file_that_does_not_fit_on_the_disk_is_not_fetched(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"x" * 1000)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(StorageFull, match=r"no room for it .* 1000 are needed .* make room or choose another DATA_DIR"):
        read(library(limits=Limits(reserve_bytes=free + 10**9)), server.url + "/a.mp4")
    assert downloaded(tmp_path) == []


def test_a_disk_that_runs_full_is_named_and_keeps_no_part(tmp_path, library, server, monkeypatch):
    def on_a_full_disk(dir, prefix):
        path = os.path.join(dir, prefix + "x")
        open(path, "w").close()
        return os.open("/dev/full", os.O_WRONLY), path

    server.pages["/a.mp4"] = Page(b"x" * 1000)
    monkeypatch.setattr("framewise.media.fetch.tempfile.mkstemp", on_a_full_disk)
    with pytest.raises(StorageFull, match="no room on the disk; .* choose another DATA_DIR"):
        read(library(), server.url + "/a.mp4")
    assert downloaded(tmp_path) == []


# Bodies that end early.


def in_parts(body, most=1000, change_after=None):
    """Ends the whole file after ``most`` bytes, then gives as many at a time of what is asked for, as Label Studio does with
    files of cloud storage. change_after: the file becomes another after so many answers."""
    answers = []

    def send(handler):
        answers.append(handler.headers.get("Range"))
        etag = '"v2"' if change_after is not None and len(answers) > change_after else '"v1"'
        start = int((answers[-1] or "bytes=0-")[6:-1])
        part = body[start : start + most]
        handler.send_response(206 if answers[-1] else 200)
        if answers[-1]:
            handler.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(part) if answers[-1] else len(body)))
        handler.send_header("Accept-Ranges", "bytes")
        handler.send_header("ETag", etag)
        handler.end_headers()
        handler.wfile.write(part)
        handler.close_connection = True

    return Page(send=send), answers


def test_the_rest_of_a_file_that_ended_early_is_asked_for(library, server):
    body = os.urandom(3500)
    server.pages["/a.mp4"], ranges = in_parts(body)
    file = read(library(), server.url + "/a.mp4")
    assert (file.data, file.content) == (body, hashlib.sha256(body).hexdigest())
    assert ranges == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]


def test_a_file_that_changes_between_its_parts_is_not_put_together(tmp_path, library, server):
    server.pages["/a.mp4"], _ = in_parts(os.urandom(3500), change_after=2)
    with pytest.raises(MediaUnavailable, match="the file changed while it was fetched"):
        read(library(), server.url + "/a.mp4")
    assert downloaded(tmp_path) == []


def test_a_short_body_of_a_server_without_ranges_is_an_error(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"x" * 1000, cut=500, headers={"etag": '"v1"'})
    with pytest.raises(MediaUnavailable, match="received 500 bytes, expected 1000"):
        read(library(), server.url + "/a.mp4")
    assert len(server.requests) == 1
    assert downloaded(tmp_path) == []


# Certificates.


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """An own authority, whose file is at ``authority.pem``; no setting of the surroundings counts."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return made


@pytest.fixture
def start_tls_server():
    started = []

    def start(authority, *names):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(context)
        started.append(Server(context))
        started[-1].pages["/a.mp4"] = started[-1].pages["/data/upload/1/a.mp4"] = Page(b"some video")
        return started[-1]

    yield start
    for server in started:
        server.close()


def with_authority(kind, tmp_path, monkeypatch):
    if kind == "SSL_CERT_FILE":
        monkeypatch.setenv(kind, str(tmp_path / "authority.pem"))
        return
    folder = tmp_path / "authorities"  # as `openssl rehash` makes it: named by the hash of the subject
    folder.mkdir()
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(tmp_path / "authority.pem")]
    subject_hash = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    shutil.copy(tmp_path / "authority.pem", folder / f"{subject_hash}.0")
    monkeypatch.setenv(kind, str(folder))


@pytest.mark.parametrize("kind", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_own_authority_is_trusted_for_media_and_for_label_studio(
    tmp_path, library, authority, start_tls_server, monkeypatch, kind
):
    with_authority(kind, tmp_path, monkeypatch)
    media, label_studio = start_tls_server(authority, "media.example"), start_tls_server(authority, "127.0.0.1")
    names = Names({"media.example": [PUBLIC]}, {PUBLIC: media.port})
    files = library(label_studio.url, hosts=("media.example",), network=names.network)
    assert read(files, "https://media.example/a.mp4").data == b"some video"
    assert media.requests[0][1]["host"] == "media.example"
    assert read(files, "/data/upload/1/a.mp4").data == b"some video"
    with pytest.raises(LabelStudioError, match="answered 404"):
        LabelStudioClient(label_studio.url, LEGACY_KEY).push_prediction(1, [], 0.5, "v1")


def test_an_unknown_authority_is_not_trusted(library, authority, start_tls_server):
    server = start_tls_server(authority, "127.0.0.1")
    for media, source in (
        (library(), server.url + "/a.mp4"),
        (library(server.url), "/data/upload/1/a.mp4"),
    ):
        with pytest.raises(MediaError, match="certificate verify failed.*set SSL_CERT_FILE to its file") as caught:
            read(media, source)
        assert not caught.value.temporary
    with pytest.raises(LabelStudioError, match="certificate verify failed.*set SSL_CERT_FILE to its file") as refused:
        LabelStudioClient(server.url, LEGACY_KEY).push_prediction(1, [], 0.5, "v1")
    assert not refused.value.temporary
    assert server.requests == []


def test_a_certificate_has_to_be_of_the_name_that_was_asked_for(tmp_path, library, authority, start_tls_server, monkeypatch):
    with_authority("SSL_CERT_FILE", tmp_path, monkeypatch)
    server = start_tls_server(authority, "other.example", PUBLIC)
    names = Names({"media.example": [PUBLIC]}, {PUBLIC: server.port})
    with pytest.raises(MediaError, match="Hostname mismatch"):
        read(library(hosts=("*",), network=names.network), "https://media.example/a.mp4")


# Proxies.


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that the environment names: it answers http addresses by their whole text, and tunnels to loopback ports."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    started = Server()
    monkeypatch.setenv("HTTP_PROXY", f"http://user:pass@127.0.0.1:{started.port}")
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{started.port}")
    yield started
    started.close()


def tunnel(port):
    """Answers CONNECT by passing bytes on to a loopback port."""

    def send(handler):
        with socket.create_connection(("127.0.0.1", port)) as server:
            handler.send_response(200)
            handler.end_headers()
            here = handler.connection
            threading.Thread(target=pour, args=(here, server), daemon=True).start()
            pour(server, here)
        handler.close_connection = True

    def pour(source, target):
        try:
            while block := source.recv(65536):
                target.sendall(block)
        except OSError:
            pass

    return Page(send=send)


def test_a_proxy_of_the_environment_is_used(library, proxy):
    names = Names()
    proxy.pages["http://media.example/a.mp4"] = Page(b"some video")
    files = library("http://label-studio.example", hosts=("media.example",), network=names.network)
    assert read(files, "http://media.example/a.mp4").data == b"some video"
    ((_, headers),) = proxy.requests
    assert headers["host"] == "media.example"
    assert headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    proxy.pages["http://label-studio.example/data/upload/1/a.mp4"] = Page(b"an upload")
    assert read(files, "/data/upload/1/a.mp4").data == b"an upload"
    assert proxy.requests[-1][1]["authorization"] == f"Token {LEGACY_KEY}"


def test_a_proxy_hands_on_what_is_encrypted(tmp_path, library, proxy, authority, start_tls_server, monkeypatch):
    with_authority("SSL_CERT_FILE", tmp_path, monkeypatch)
    server = start_tls_server(authority, "media.example")
    proxy.pages["media.example:443"] = tunnel(server.port)
    files = library(hosts=("media.example",), network=Names().network)
    assert read(files, "https://media.example/a.mp4").data == b"some video"
    ((_, headers),) = proxy.requests
    assert "authorization" not in headers


def test_no_proxy_names_hosts_that_are_asked_directly(library, proxy, server, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "elsewhere.example, 127.0.0.1")
    server.pages["/a.mp4"] = Page(b"some video")
    assert read(library(), server.url + "/a.mp4").data == b"some video"
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("url", "addresses", "message"),
    [
        ("http://elsewhere.example/a.mp4", {}, "is not allowed"),
        ("http://10.0.0.7/a.mp4", {}, "is not allowed"),
        ("http://media.example/a.mp4", {"media.example": ["10.0.0.7"]}, "leads to an address that is not public"),
        ("http://media.example/redirect", {}, "leads to an address that is not public"),
    ],
)
def test_a_proxy_is_no_way_around_the_list(library, proxy, url, addresses, message):
    proxy.pages["http://media.example/redirect"] = Page(status=302, headers={"location": "http://10.0.0.7/a.mp4"})
    hosts = ("media.example", "*") if "redirect" in url else ("media.example",)
    with pytest.raises(MediaForbidden, match=message):
        read(library(hosts=hosts, network=Names(addresses).network), url)
    assert not [path for path in proxy.paths if "redirect" not in path]


def test_a_proxy_that_refuses_is_named(library, proxy):
    proxy.pages["media.example:443"] = Page(status=407)
    with pytest.raises(MediaError, match="could not be fetched, ProxyError: 407") as caught:
        read(library(hosts=("media.example",), network=Names().network), "https://media.example/a.mp4")
    assert not caught.value.temporary
