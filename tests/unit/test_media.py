"""From an address in a task to a file: what may be read, what identifies it, who sees the key, how long the bytes stay.

Servers here are real ones, on loopback ports.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from framewise.core.errors import LabelStudioError, LabelStudioUnavailable, MediaError, MediaForbidden, MediaUnavailable
from tests.media_help import LEGACY_KEY, Names, Read, downloaded, presign_path, read
from tests.web_server import Page, closed_url

REPOSITORY = Path(__file__).resolve().parents[2]

# Local files.


def test_a_file_below_an_allowed_folder_is_read_and_identified_by_its_bytes(tmp_path, library):
    path = tmp_path / "videos" / "deep" / "clip.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"some video")
    file = read(library(roots=[tmp_path / "videos"]), str(path))
    assert file.path == path
    assert file.content == hashlib.sha256(b"some video").hexdigest()


def test_the_same_bytes_under_two_names_are_one_content(tmp_path, library):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"some video")
    media = library(roots=[tmp_path])
    assert read(media, str(tmp_path / "a.mp4")).content == read(media, str(tmp_path / "b.mp4")).content


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
    for call in (partial(read, media), media.known_content, media.stamp):
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
        read(library(), str(tmp_path / "clip.mp4"))


def test_a_relative_path_leads_nowhere(tmp_path, library, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "allowed").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(MediaForbidden):
        read(library(roots=[tmp_path / "allowed"]), "clip.mp4")


def test_a_link_that_stays_inside_is_read(tmp_path, library):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    assert read(library(roots=[tmp_path]), str(tmp_path / "link.mp4")).path == tmp_path / "clip.mp4"


def test_a_missing_file_below_an_allowed_folder_is_named(tmp_path, library):
    with pytest.raises(MediaError, match=r"gone\.mp4: no such file"):
        read(library(roots=[tmp_path]), str(tmp_path / "gone.mp4"))


def test_a_folder_is_no_file(tmp_path, library):
    with pytest.raises(MediaError, match="no such file"):
        read(library(roots=[tmp_path]), str(tmp_path))


@pytest.mark.parametrize("name", ["a" * 300 + ".mp4", "zero\0byte.mp4"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, library, name):
    with pytest.raises(MediaError):
        read(library(roots=[tmp_path]), f"{tmp_path}/{name}")


def test_a_replaced_file_has_a_new_content(tmp_path, library):
    path = tmp_path / "clip.mp4"
    media = library(roots=[tmp_path])
    path.write_bytes(b"first video")
    first, stamp = read(media, str(path)).content, media.stamp(str(path))
    path.write_bytes(b"the second video")
    assert media.known_content(str(path)) is None
    assert media.stamp(str(path)) != stamp
    assert read(media, str(path)).content == hashlib.sha256(b"the second video").hexdigest() != first


@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_that_is_replaced_with_its_size_and_time_kept_has_a_new_content(tmp_path, library, in_place):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"video one")
    media = library(roots=[tmp_path])
    read(media, str(path))
    before = path.stat()
    time.sleep(0.02)  # file systems note the time of a change in steps of a few milliseconds
    if in_place:
        path.write_bytes(b"video two")
    else:
        (tmp_path / "new.mp4").write_bytes(b"video two")
        os.replace(tmp_path / "new.mp4", path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(media, str(path)).content == hashlib.sha256(b"video two").hexdigest()


def test_a_file_that_was_opened_is_known_without_reading_it(tmp_path, library):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    media = library(roots=[tmp_path])
    assert media.known_content(str(tmp_path / "clip.mp4")) is None
    opened = read(media, str(tmp_path / "clip.mp4"))
    assert media.known_content(str(tmp_path / "clip.mp4")) == opened.content
    assert library(roots=[tmp_path]).known_content(str(tmp_path / "clip.mp4")) == opened.content  # another process


# Files from the web.


def test_a_file_is_fetched_to_disk_and_identified_by_its_bytes(library, server):
    server.pages["/a.mp4"] = Page(b"some video")
    file = read(library(), server.url + "/a.mp4")
    assert file.data == b"some video"
    assert file.content == hashlib.sha256(b"some video").hexdigest()


@pytest.mark.parametrize("validator", [{"etag": '"v1"'}, {"last-modified": "Wed, 01 Jan 2025 00:00:00 GMT"}])
def test_an_unchanged_file_is_not_fetched_again_while_it_is_open(library, server, validator):
    server.pages["/a.mp4"] = Page(b"some video", headers=validator)
    with library().opened(server.url + "/a.mp4") as first:
        assert read(library(), server.url + "/a.mp4") == Read(first.path, first.content, b"some video")
        assert first.path.exists()
    assert len(server.requests) == 2
    assert server.bodies == 1


@pytest.mark.parametrize("validator", [{"etag": '"v1"'}, {"last-modified": "Wed, 01 Jan 2025 00:00:00 GMT"}])
def test_an_unchanged_file_is_known_although_its_bytes_are_gone(tmp_path, library, server, validator):
    server.pages["/a.mp4"] = Page(b"some video", headers=validator)
    content = read(library(), server.url + "/a.mp4").content
    assert [path.name for path in downloaded(tmp_path)] == ["record.json"]
    assert library().known_content(server.url + "/a.mp4") == content
    assert len(server.requests) == 2
    assert server.bodies == 1
    assert read(library(), server.url + "/a.mp4").data == b"some video"


def test_an_unchanged_file_is_known_also_from_a_server_that_ignores_the_question(library, server):
    def in_full(handler):
        handler.send_response(200)
        handler.send_header("ETag", '"v1"')
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"some video")

    server.pages["/a.mp4"] = Page(send=in_full)
    content = read(library(), server.url + "/a.mp4").content
    assert library().known_content(server.url + "/a.mp4") == content


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
    read(library(), server.url + "/a.mp4")
    server.pages["/a.mp4"] = Page(b"other video", headers=after)
    assert library().known_content(server.url + "/a.mp4") is None
    file = read(library(), server.url + "/a.mp4")
    assert file.content == hashlib.sha256(b"other video").hexdigest()
    assert file.data == b"other video"


def test_a_file_that_was_removed_from_disk_is_fetched_again(library, server):
    server.pages["/a.mp4"] = Page(b"some video", headers={"etag": '"v1"'})
    with library().opened(server.url + "/a.mp4") as file:
        file.path.unlink()
        assert read(library(), server.url + "/a.mp4").data == b"some video"


def test_the_record_of_a_changed_file_is_of_the_bytes_on_disk(library, server):
    """While one reads the first version, another fetches the second: each has its own, and the record is of the second."""
    server.pages["/a.mp4"] = Page(b"first video", headers={"etag": '"v1"'})
    with library().opened(server.url + "/a.mp4") as first:
        server.pages["/a.mp4"] = Page(b"other video", headers={"etag": '"v2"'})
        with library().opened(server.url + "/a.mp4") as second:
            assert (first.path.read_bytes(), second.path.read_bytes()) == (b"first video", b"other video")
            assert library().known_content(server.url + "/a.mp4") == second.content
    server.pages["/a.mp4"] = Page(b"first video", headers={"etag": '"v1"'})
    assert library().known_content(server.url + "/a.mp4") is None


def test_two_addresses_are_two_files(library, server):
    server.pages |= {"/clip?id=1": Page(b"one"), "/clip?id=2": Page(b"two")}
    assert [read(library(), f"{server.url}/clip?id={n}").data for n in (1, 2)] == [b"one", b"two"]


def test_a_host_that_is_not_allowed_is_not_asked(library, server):
    server.pages["/a.mp4"] = Page(b"x")
    with pytest.raises(MediaForbidden, match=r"host '127\.0\.0\.1' is not allowed; add it to MEDIA_HOSTS"):
        read(library(hosts=("media.example",)), server.url + "/a.mp4")
    assert server.requests == []


def test_a_user_in_an_address_is_not_taken_for_its_host(library, server):
    with pytest.raises(MediaForbidden, match=r"host '127\.0\.0\.1' is not allowed"):
        read(library(hosts=("media.example",)), f"http://media.example@127.0.0.1:{server.port}/a.mp4")
    assert server.requests == []


def test_a_redirect_is_followed(library, server):
    server.pages |= {"/a.mp4": Page(status=302, headers={"location": "/b.mp4"}), "/b.mp4": Page(b"moved")}
    assert read(library(), server.url + "/a.mp4").data == b"moved"


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(library, server, other_server):
    server.pages["/a.mp4"] = Page(status=302, headers={"location": f"http://localhost:{other_server.port}/b.mp4"})
    other_server.pages["/b.mp4"] = Page(b"secret")
    with pytest.raises(MediaForbidden, match="host 'localhost' is not allowed"):
        read(library(hosts=("127.0.0.1",)), server.url + "/a.mp4")
    assert other_server.requests == []


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/a.mp4"])
def test_a_redirect_out_of_the_web_is_not_followed(library, server, location):
    server.pages["/a.mp4"] = Page(status=302, headers={"location": location})
    with pytest.raises(MediaError, match="is not an address: expected http or https"):
        read(library(hosts=("*", "127.0.0.1")), server.url + "/a.mp4")


def test_a_redirect_to_no_address_is_named(library, server):
    server.pages["/a.mp4"] = Page(status=302, headers={"location": "http://127.0.0.1:99999/b.mp4"})
    with pytest.raises(MediaError, match=r"'http://127\.0\.0\.1:99999/b\.mp4' is not an address"):
        read(library(), server.url + "/a.mp4")


def test_redirects_in_a_circle_end(library, server):
    server.pages["/a.mp4"] = Page(status=302, headers={"location": "/a.mp4"})
    with pytest.raises(MediaError, match="more than 5 redirects"):
        read(library(), server.url + "/a.mp4")
    assert len(server.requests) == 6


def test_an_interrupted_download_leaves_nothing_that_counts(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"x" * 100_000, cut=50_000)
    with pytest.raises(MediaError, match=r"127\.0\.0\.1.*/a\.mp4: could not be fetched"):
        read(library(), server.url + "/a.mp4")
    assert downloaded(tmp_path) == []
    server.pages["/a.mp4"] = Page(b"x" * 100_000)
    assert read(library(), server.url + "/a.mp4").data == b"x" * 100_000


def test_a_server_that_is_not_there(library):
    with pytest.raises(MediaUnavailable, match="could not be fetched, ConnectError"):
        read(library(), closed_url() + "/a.mp4")


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, MediaForbidden, "answered 401; is the user of LABEL_STUDIO_API_KEY allowed to see this file"),
        (403, MediaForbidden, "answered 403; is the user of LABEL_STUDIO_API_KEY allowed to see this file"),
        (404, MediaError, "expected a file, the server answered 404"),
        (204, MediaError, "expected a file, the server answered 204"),
        (206, MediaError, "expected a file, the server answered 206"),
        (304, MediaError, "expected a file, the server answered 304"),
        (429, MediaUnavailable, "expected a file, the server answered 429"),
        (500, MediaUnavailable, "expected a file, the server answered 500"),
        (503, MediaUnavailable, "expected a file, the server answered 503"),
    ],
)
def test_an_answer_that_is_no_file_is_named_and_not_kept(tmp_path, library, server, status, kind, message):
    server.pages["/a.mp4"] = Page(b"an error page", status)
    with pytest.raises(kind, match=message) as caught:
        read(library(), server.url + "/a.mp4")
    assert caught.value.temporary == (kind is MediaUnavailable)
    assert downloaded(tmp_path) == []


@pytest.mark.parametrize(
    "address",
    [
        "http://ann:passw0rd@127.0.0.1:{port}/a.mp4?signature=s3cret",
        "http://ann:passw0rd/s3cret@127.0.0.1:{port}/a.mp4",
        "http://ann:passw0rd?s3cret@127.0.0.1:{port}/a.mp4",
        "http://ann:passw0rd@127.0.0.1:99999/a.mp4?signature=s3cret",
        "http://ann:passw0rd@elsewhere.example/a.mp4?signature=s3cret",
        "ftp://ann:passw0rd@127.0.0.1/a.mp4?signature=s3cret",
        "s3://ann:passw0rd@bucket/a.mp4?signature=s3cret",
    ],
)
def test_an_error_does_not_show_the_secrets_of_an_address(tmp_path, library, server, address, caplog):
    with pytest.raises(MediaError) as caught:
        read(library(), address.format(port=server.port))
    for text in (str(caught.value), caplog.text):
        assert "passw0rd" not in text
        assert "s3cret" not in text


def test_a_record_does_not_hold_the_secrets_of_an_address(tmp_path, library, server):
    server.pages |= {"/a.mp4?signature=s3cret": Page(status=302, headers={"location": "/b.mp4?token=hidden"})}
    server.pages["/b.mp4?token=hidden"] = Page(b"some video")
    read(library(), f"http://ann:passw0rd@127.0.0.1:{server.port}/a.mp4?signature=s3cret")
    (record,) = downloaded(tmp_path)
    assert not [secret for secret in ("passw0rd", "s3cret", "hidden") if secret in record.read_text()]


@pytest.mark.parametrize("source", ["ftp://host/a.mp4", "file:///etc/hostname", "s3a://bucket/a.mp4"])
def test_other_schemes_are_refused(tmp_path, library, source):
    with pytest.raises(MediaError, match=f"addresses of scheme '{source.split(':')[0]}' are not read"):
        read(library(hosts=("*",), roots=[tmp_path]), source)


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1:99999/a.mp4",
        "http://[::1/a.mp4",
        "http:///a.mp4",
        "http://a\0b/c.mp4",
        "http://\ud800/a.mp4",
        "http://127.0.0.1/\ud800.mp4",
        "/data/upload/1/\ud800.mp4",
        "s3://bucket/\ud800.mp4",
        "http://" + "a" * 70_000,
    ],
)
def test_an_address_that_is_none_is_refused(library, source):
    media = library("http://127.0.0.1:8080", hosts=("*",))
    for call in (partial(read, media, task=7), partial(media.known_content, task=7)):
        with pytest.raises(MediaError):
            call(source)


# Label Studio's own files, and its key.


@pytest.mark.parametrize("source", ["/data/upload/1/a.mp4", "data/upload/1/a.mp4"])
def test_an_upload_is_fetched_from_label_studio_with_the_key(library, server, source):
    server.pages["/data/upload/1/a.mp4"] = Page(b"an upload")
    assert read(library(server.url, hosts=()), source).data == b"an upload"
    ((_, headers),) = server.requests
    assert headers["authorization"] == f"Token {LEGACY_KEY}"


@pytest.mark.parametrize("source", ["/data/upload/1/a.mp4", "/ls/data/upload/1/a.mp4"])
def test_an_upload_of_label_studio_behind_a_path_prefix(library, server, source):
    server.pages["/ls/data/upload/1/a.mp4"] = Page(b"an upload")
    assert read(library(server.url + "/ls", hosts=()), source).data == b"an upload"
    assert server.paths == ["/ls/data/upload/1/a.mp4"]


def test_a_local_file_of_label_studio_keeps_its_query(library, server):
    server.pages["/data/local-files/?d=videos/a.mp4"] = Page(b"a local file")
    assert read(library(server.url, hosts=()), "/data/local-files/?d=videos/a.mp4").data == b"a local file"


def test_a_plain_path_below_data_is_no_file_of_label_studio(library, server):
    with pytest.raises(MediaForbidden, match="LOCAL_FILES_ROOTS"):
        read(library(server.url), "/data/videos/a.mp4")
    assert server.requests == []


def test_an_upload_that_was_fetched_is_known_without_asking(library, server):
    server.pages["/data/upload/1/a.mp4"] = Page(b"an upload")
    opened = read(library(server.url), "/data/upload/1/a.mp4")
    assert library(server.url).known_content("/data/upload/1/a.mp4") == opened.content
    assert len(server.requests) == 1


def test_an_upload_without_the_address_of_label_studio_is_refused_with_the_cure(library):
    with pytest.raises(LabelStudioError, match=r"/data/upload/1/a\.mp4 .*set LABEL_STUDIO_URL"):
        read(library(None), "/data/upload/1/a.mp4")


def test_the_key_goes_to_no_other_port(library, server, other_server):
    other_server.pages["/a.mp4"] = Page(b"x")
    assert read(library(server.url), other_server.url + "/a.mp4").data == b"x"
    ((_, headers),) = other_server.requests
    assert "authorization" not in headers


def test_the_key_does_not_follow_a_redirect(library, server, other_server):
    server.pages["/data/upload/1/a.mp4"] = Page(status=303, headers={"location": other_server.url + "/signed.mp4"})
    other_server.pages["/signed.mp4"] = Page(b"from the cloud")
    assert read(library(server.url), "/data/upload/1/a.mp4").data == b"from the cloud"
    ((_, asked),) = server.requests
    assert asked["authorization"] == f"Token {LEGACY_KEY}"
    ((_, headers),) = other_server.requests
    assert "authorization" not in headers
    assert LEGACY_KEY not in json.dumps(headers)


@pytest.mark.parametrize(
    "source",
    [
        "/data/upload/../../api/users",
        "/data/upload/%2e%2e/%2e%2e/api/users",
        "/data/upload/..%2f..%2fapi/users",
        "/data/upload/%252e%252e/%252e%252e/api/users",
        "/data/upload/%25252525252e%25252525252e/api/users",
        "/data/upload/..%5c..%5capi/users",
        "{url}/data/upload/../../api/users",
        "{url}/data/upload/%2e%2e/api/users",
        "{url}//data/upload/1/a.mp4",
        "{url}/api/users",
        "{url}/",
        "/data/local-files/../../api/users?d=a.mp4",
        "/tasks/1/../../api/users?fileuri=czM6Ly9i",
        "/tasks/1/annotations?fileuri=czM6Ly9i",
    ],
)
def test_nothing_but_media_is_asked_of_label_studio(library, server, source):
    with pytest.raises(MediaError, match="not the address of a media file|not an address"):
        read(library(server.url), source.format(url=server.url))
    with suppress(MediaError):
        assert library(server.url).known_content(source.format(url=server.url)) is None
    assert server.requests == []


def test_a_redirect_of_label_studio_within_itself_is_held_to_media_too(library, server):
    server.pages["/data/upload/1/a.mp4"] = Page(status=302, headers={"location": "/api/users"})
    with pytest.raises(MediaForbidden, match="'/api/users' is not the address of a media file"):
        read(library(server.url), "/data/upload/1/a.mp4")
    assert server.paths == ["/data/upload/1/a.mp4"]


def test_another_host_does_not_lead_to_label_studio(library, server, other_server):
    other_server.pages["/a.mp4"] = Page(status=302, headers={"location": server.url + "/data/upload/1/secret.mp4"})
    with pytest.raises(MediaForbidden, match="redirects of other hosts to Label Studio are not followed"):
        read(library(server.url), other_server.url + "/a.mp4")
    assert server.requests == []


def test_label_studio_as_a_user_name_does_not_get_another_host_the_key(library, server, other_server):
    other_server.pages["/a.mp4"] = Page(b"x")
    read(library(server.url), f"http://127.0.0.1:{server.port}@127.0.0.1:{other_server.port}/a.mp4")
    ((_, headers),) = other_server.requests
    assert LEGACY_KEY not in json.dumps(headers)
    assert server.requests == []


def jwt(kind, seconds):
    """A token of Label Studio's: a personal one is of the kind "refresh"."""
    claims = {"token_type": kind, "exp": int(time.time()) + seconds, "iat": int(time.time()), "jti": kind, "user_id": 1}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, b"signature"))


def test_a_personal_access_token_is_exchanged_and_never_sent_with_a_file(library, server):
    personal, access = jwt("refresh", 10**6), jwt("access", 300)
    server.pages["/api/token/refresh"] = server.pages["/api/token/refresh/"] = Page(
        json.dumps({"access": access}).encode(), headers={"content-type": "application/json"}
    )
    server.pages["/data/upload/1/a.mp4"] = Page(b"an upload")
    assert read(library(server.url, key=personal), "/data/upload/1/a.mp4").data == b"an upload"
    path, headers = server.requests[-1]
    assert path == "/data/upload/1/a.mp4"
    assert headers["authorization"] == f"Bearer {access}"


def test_label_studio_that_is_not_there_is_a_passing_failure(library):
    """A token has to be exchanged before the file can be asked for."""
    with pytest.raises(LabelStudioUnavailable, match="exchanging LABEL_STUDIO_API_KEY .*is Label Studio running there"):
        read(library(closed_url(), key=jwt("refresh", 10**6)), "/data/upload/1/a.mp4")


@pytest.mark.parametrize("status", [429, 502, 503])
def test_label_studio_that_is_busy_is_a_passing_failure(library, server, status):
    server.pages["/api/token/refresh/"] = Page(b"<html>busy</html>", status)
    with pytest.raises(LabelStudioUnavailable):
        read(library(server.url, key=jwt("refresh", 10**6)), "/data/upload/1/a.mp4")


def test_a_key_that_label_studio_refuses_is_a_lasting_failure(library, server):
    server.pages["/api/token/refresh/"] = Page(b'{"detail": "no"}', 401, {"content-type": "application/json"})
    with pytest.raises(LabelStudioError, match="answered 401; check LABEL_STUDIO_API_KEY") as caught:
        read(library(server.url, key=jwt("refresh", 10**6)), "/data/upload/1/a.mp4")
    assert not caught.value.temporary


def test_the_exchange_of_a_token_does_not_follow_a_redirect(library, server, other_server):
    server.pages["/api/token/refresh/"] = Page(status=307, headers={"location": other_server.url + "/api/token/refresh/"})
    with pytest.raises(LabelStudioError, match="answered 307; LABEL_STUDIO_URL must be the address to which it redirects"):
        read(library(server.url, key=jwt("refresh", 10**6)), "/data/upload/1/a.mp4")
    assert other_server.requests == []


def test_a_token_is_exchanged_below_a_path_prefix(library, server):
    access = jwt("access", 300)
    answer = Page(json.dumps({"access": access}).encode(), headers={"content-type": "application/json"})
    server.pages |= {"/ls/api/token/refresh/": answer, "/ls/data/upload/1/a.mp4": Page(b"an upload")}
    assert read(library(server.url + "/ls", key=jwt("refresh", 10**6)), "/data/upload/1/a.mp4").data == b"an upload"
    assert server.paths == ["/ls/api/token/refresh/", "/ls/data/upload/1/a.mp4"]


# Cloud storage, resolved by Label Studio.

CLIP = "s3://bucket/clips/a b.mp4"


def put_in_cloud(label_studio, storage, uri=CLIP, task=7, body=b"from the cloud", etag='"v1"'):
    """Have Label Studio redirect to the storage, with another signature for each question."""

    def redirect(handler):
        signature = f"X-Amz-Signature={len(label_studio.requests)}"
        path = f"/bucket/a.mp4?{signature}"
        storage.pages[path] = Page(body, headers={"etag": etag})
        handler.send_response(303)
        handler.send_header("Location", storage.url + path)
        handler.end_headers()

    label_studio.pages[presign_path(uri, task)] = Page(send=redirect)
    label_studio.pages[presign_path(uri, task, "resolve")] = Page(send=redirect)


@pytest.mark.parametrize("uri", [CLIP, "gs://bucket/a.mp4", "azure-blob://container/ü.mp4"])
def test_a_file_in_cloud_storage_is_resolved_by_label_studio_for_its_task(library, server, other_server, uri):
    put_in_cloud(server, other_server, uri)
    assert read(library(server.url), uri, task=7).data == b"from the cloud"
    ((path, asked),) = server.requests
    assert path == presign_path(uri, 7)
    assert asked["authorization"] == f"Token {LEGACY_KEY}"
    ((_, headers),) = other_server.requests
    assert LEGACY_KEY not in json.dumps(headers)


@pytest.mark.parametrize("word", ["presign", "resolve"])
@pytest.mark.parametrize("prefix", ["", "{url}"])
def test_task_data_may_hold_the_address_that_resolves_a_file(library, server, other_server, word, prefix):
    put_in_cloud(server, other_server)
    source = prefix.format(url=server.url) + presign_path(CLIP, 7, word)
    assert read(library(server.url), source).data == b"from the cloud"
    assert library(server.url).known_content(CLIP, task=7) == hashlib.sha256(b"from the cloud").hexdigest()


def test_a_file_in_cloud_storage_is_known_under_another_signature(library, server, other_server):
    put_in_cloud(server, other_server)
    content = read(library(server.url), CLIP, task=7).content
    assert library(server.url).known_content(CLIP, task=7) == content
    assert len(set(other_server.paths)) == 2
    assert other_server.bodies == 1
    put_in_cloud(server, other_server, body=b"another version", etag='"v2"')
    assert library(server.url).known_content(CLIP, task=7) is None


def test_a_file_in_cloud_storage_is_known_only_to_tasks_that_may_see_it(library, server, other_server):
    put_in_cloud(server, other_server)
    read(library(server.url), CLIP, task=7)
    server.pages[presign_path(CLIP, 8)] = Page(status=403)
    assert library(server.url).known_content(CLIP, task=8) is None
    with pytest.raises(MediaForbidden, match=r"s3://bucket/clips/a%20b\.mp4: the server answered 403"):
        read(library(server.url), CLIP, task=8)
    assert len(other_server.requests) == 1


def test_a_bucket_of_the_same_name_elsewhere_does_not_vouch_for_the_file(library, server, other_server):
    """Whoever may make a storage in Label Studio can give it any bucket's name and an endpoint that says "not modified"."""
    put_in_cloud(server, other_server)
    read(library(server.url), CLIP, task=7)
    other_server.pages["/stranger/a.mp4"] = Page(b"", 304)
    server.pages[presign_path(CLIP, 8)] = Page(status=303, headers={"location": other_server.url + "/stranger/a.mp4"})
    assert library(server.url).known_content(CLIP, task=8) is None
    assert "if-none-match" not in other_server.requests[-1][1]


def test_a_file_that_label_studio_hands_on_itself(library, server):
    server.pages[presign_path(CLIP, 7)] = Page(b"from the cloud", headers={"etag": '"11v1"'})
    content = read(library(server.url), CLIP, task=7).content
    assert library(server.url).known_content(CLIP, task=7) == content
    assert server.bodies == 1


def test_a_bucket_without_a_storage_in_label_studio_is_named_with_the_cure(library, server):
    server.pages[presign_path(CLIP, 7)] = Page(status=404)
    with pytest.raises(
        MediaError,
        match="answered 404 Not Found; does the task's project in Label Studio have a storage for this bucket, and does that",
    ):
        read(library(server.url), CLIP, task=7)


def test_cloud_storage_needs_a_task_and_label_studio(library, server):
    with pytest.raises(MediaError, match="resolves addresses in cloud storage for a task; none is given"):
        read(library(server.url), CLIP)
    with pytest.raises(MediaError, match="for a task; none is given"):
        read(library(server.url), CLIP, task="7/../../api")
    with pytest.raises(LabelStudioError, match="set LABEL_STUDIO_URL"):
        read(library(None), CLIP, task=7)
    assert library(server.url).stamp(CLIP) == CLIP


def test_label_studio_may_redirect_to_a_public_host_that_is_not_listed(library, server, other_server):
    names = Names({"bucket.s3.example": ["93.184.216.34"]}, {"93.184.216.34": other_server.port})
    server.pages[presign_path(CLIP, 7)] = Page(status=303, headers={"location": "http://bucket.s3.example/a.mp4"})
    other_server.pages["/a.mp4"] = Page(status=307, headers={"location": "http://bucket.s3.example/b.mp4"})
    other_server.pages["/b.mp4"] = Page(b"from the cloud")
    assert read(library(server.url, hosts=(), network=names.network), CLIP, task=7).data == b"from the cloud"
    with pytest.raises(MediaForbidden, match=r"'bucket\.s3\.example' is not allowed; add it to MEDIA_HOSTS"):
        read(library(server.url, hosts=(), network=names.network), "http://bucket.s3.example/b.mp4")


@pytest.mark.parametrize("hosts", [(), ("*",), ("minio.example",)])
def test_label_studio_may_not_redirect_to_a_private_address_that_is_not_listed(library, server, other_server, hosts):
    names = Names({"minio.example": ["172.18.0.5"]}, {"172.18.0.5": other_server.port})
    server.pages[presign_path(CLIP, 7)] = Page(status=303, headers={"location": "http://minio.example/a.mp4?X-Amz-Signature=1"})
    with pytest.raises(MediaForbidden, match="'minio.example' leads to an address that is not public") as caught:
        read(library(server.url, hosts=hosts, network=names.network), CLIP, task=7)
    assert "X-Amz" not in str(caught.value)
    assert "172.18" not in str(caught.value)
    assert other_server.requests == []


@pytest.mark.parametrize("hosts", [("172.18.0.5",), ("172.16.0.0/12",)])
def test_label_studio_may_redirect_to_a_private_address_that_is_listed(library, server, other_server, hosts):
    names = Names({"minio.example": ["172.18.0.5"]}, {"172.18.0.5": other_server.port})
    server.pages[presign_path(CLIP, 7)] = Page(status=303, headers={"location": "http://minio.example/a.mp4"})
    other_server.pages["/a.mp4"] = Page(b"from the cloud")
    assert read(library(server.url, hosts=hosts, network=names.network), CLIP, task=7).data == b"from the cloud"


# How long the bytes stay.


def test_the_last_one_to_leave_deletes_the_bytes(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"some video", headers={"etag": '"v1"'})
    one, other = library().opened(server.url + "/a.mp4"), library().opened(server.url + "/a.mp4")
    path = one.__enter__().path
    other.__enter__()
    one.__exit__(None, None, None)
    assert path.read_bytes() == b"some video"
    other.__exit__(None, None, None)
    assert [path.name for path in downloaded(tmp_path)] == ["record.json"]


def test_the_bytes_are_deleted_also_after_an_error(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"some video")
    with pytest.raises(ZeroDivisionError), library().opened(server.url + "/a.mp4"):
        1 / 0  # noqa: B018
    assert [path.name for path in downloaded(tmp_path)] == ["record.json"]


READER = """
import sys
from pathlib import Path
from framewise.label_studio import LabelStudioClient
from framewise.media.library import MediaLibrary
folder, url, then = sys.argv[1:]
with MediaLibrary(Path(folder), LabelStudioClient(None, None), (), ("127.0.0.1",)).opened(url) as file:
    print(file.content, flush=True)
    sys.stdin.read() if then == "wait" else None
"""


def start_reader(tmp_path, url, then):
    """Another process that opens an address and says its content; with "wait", holds it until it is told to end."""
    command = [sys.executable, "-c", READER, str(tmp_path / "data"), url, then]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)


def test_processes_that_want_the_same_file_at_once_fetch_it_once(tmp_path, server):
    here = threading.Event()
    server.pages["/a.mp4"] = Page(b"x" * 1000, headers={"etag": '"v1"'}, wait=lambda: here.wait(2))
    readers = [start_reader(tmp_path, server.url + "/a.mp4", "wait") for _ in range(3)]
    said = {reader.stdout.readline().strip() for reader in readers}
    for reader in readers:
        reader.communicate("")
    assert said == {hashlib.sha256(b"x" * 1000).hexdigest()}
    assert server.bodies == 1
    assert [path.name for path in downloaded(tmp_path)] == ["record.json"]


def test_what_a_killed_process_left_is_swept(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"some video", headers={"etag": '"v1"'})
    server.pages |= {"/a.mp4?1": server.pages["/a.mp4"], "/a.mp4?2": server.pages["/a.mp4"]}
    killed, reader = (start_reader(tmp_path, f"{server.url}/a.mp4?{n}", "wait") for n in (1, 2))
    contents = [process.stdout.readline().strip() for process in (killed, reader)]
    killed.kill()
    killed.communicate()
    library().sweep()
    left = sorted(path.name for path in downloaded(tmp_path))
    reader.communicate("")
    assert left == sorted([contents[1], "record.json", "record.json"])


def test_parts_of_killed_processes_are_removed_by_the_next_that_fetches(tmp_path, library, server):
    server.pages["/a.mp4"] = Page(b"some video")
    read(library(), server.url + "/a.mp4")
    (record,) = downloaded(tmp_path)
    part = record.with_name(".part-abc")
    part.write_bytes(b"some")
    with library().opened(server.url + "/a.mp4") as file:
        assert not part.exists()
        assert file.path.read_bytes() == b"some video"
