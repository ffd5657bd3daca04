"""Videos in every place that Label Studio knows, read through a real one: uploads, a folder, and a bucket."""

import hashlib
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from framewise.core.errors import MediaError, MediaForbidden
from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth
from framewise.demo.label_studio_server import LabelStudioServer
from framewise.demo.run import true_regions
from framewise.label_studio import LabelStudioClient
from framewise.media.library import MediaLibrary
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import LABEL_CONFIG, wait_for_version
from tests.media_help import downloaded, read
from tests.web_server import Page, Server

BUCKET = "football-clips"
LIST = (
    '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{name}</Name>'
    "<KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)


class Bucket(Server):
    """As much of S3 as Label Studio and a signed address need: HEAD of the bucket, GET of an object or of a range of it.

    cut: a GET of a whole object ends after so many bytes.
    """

    def __init__(self, files: dict[str, bytes]):
        super().__init__()
        self.files, self.cut = files, None

    def answer(self, handler: BaseHTTPRequestHandler, page: Page) -> None:
        path = unquote(handler.path.partition("?")[0])
        body = self.files.get(path.removeprefix(f"/{BUCKET}/"))
        if body is None:
            super().answer(handler, Page(LIST.format(name=BUCKET).encode(), 200 if path.rstrip("/") == f"/{BUCKET}" else 404))
            return
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if handler.headers.get("If-None-Match") == etag:
            super().answer(handler, Page(status=304, headers={"etag": etag}))
            return
        asked = re.match(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        start, stop = (int(asked[1]), int(asked[2] or len(body) - 1) + 1) if asked else (0, len(body))
        part = body[start:stop]
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "video/mp4"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(body)}"
        super().answer(handler, Page(part, 206 if asked else 200, headers, None if asked else self.cut))
        handler.close_connection = True


@pytest.fixture
def bucket(clips: list[ClipTruth]) -> Iterator[Bucket]:
    started = Bucket({f"a folder/{clip.path.name}": clip.path.read_bytes() for clip in clips})
    yield started
    started.close()


def add_bucket(api: AnnotatorApi, project: int, bucket: Bucket, presign: bool) -> None:
    """Connect a bucket as Settings > Cloud Storage does."""
    storage = {
        "project": project,
        "title": "clips",
        "bucket": BUCKET,
        "s3_endpoint": bucket.url,
        "aws_access_key_id": "an-id",
        "aws_secret_access_key": "a-secret",
        "region_name": "us-east-1",
        "use_blob_urls": True,
        "presign": presign,
    }
    api.request("POST", "/api/storages/s3/", json=storage)


def uris(clips: list[ClipTruth]) -> list[str]:
    return [f"s3://{BUCKET}/a folder/{clip.path.name}" for clip in clips]


@pytest.fixture(params=["legacy token", "personal access token"])
def library(request: Any, label_studio: LabelStudioServer, tmp_path: Path) -> MediaLibrary:
    """Reads what Label Studio has; hosts in no list but this machine, where the bucket is."""
    key = label_studio.legacy_token if request.param == "legacy token" else label_studio.personal_access_token()
    return MediaLibrary(tmp_path / "data", LabelStudioClient(label_studio.url, key), (), ("127.0.0.1",))


def test_uploads_and_local_files(
    api: AnnotatorApi, clips: list[ClipTruth], project: int, library: MediaLibrary, tmp_path: Path
) -> None:
    (upload,) = api.import_files(project, [clips[0].path])
    api.add_local_storage(project, Path(clips[1].path).parent)
    local = next(t for t in api.tasks(project) if str(t["data"]["video"]).endswith(clips[1].path.name))
    for task, clip in ((upload, clips[0]), (local, clips[1])):
        source = task["data"]["video"]
        content = hashlib.sha256(clip.path.read_bytes()).hexdigest()
        assert library.known_content(source, task["id"]) is None
        assert read(library, source, task["id"]).content == content
        assert library.known_content(source, task["id"]) == content
    assert {path.name for path in downloaded(tmp_path)} == {"record.json"}


@pytest.mark.parametrize("presign", [True, False])
def test_a_file_in_a_bucket(
    api: AnnotatorApi, clips: list[ClipTruth], project: int, library: MediaLibrary, bucket: Bucket, presign: bool
) -> None:
    """With presign Label Studio redirects to the bucket, without it hands the file on, in parts if that takes it too long."""
    add_bucket(api, project, bucket, presign)
    (task,) = api.import_tasks(project, [{"video": uris(clips)[0]}])
    source, content = task["data"]["video"], hashlib.sha256(clips[0].path.read_bytes()).hexdigest()
    bucket.cut = 10_000
    assert read(library, source, task["id"]).content == content
    assert any("range" in headers for _, headers in bucket.requests)
    bucket.cut = None
    assert library.known_content(source, task["id"]) == content
    bucket.files = {name: body + b"more" for name, body in bucket.files.items()}
    assert library.known_content(source, task["id"]) is None


def test_a_bucket_that_is_not_of_the_tasks_project_is_refused(
    api: AnnotatorApi, clips: list[ClipTruth], project: int, library: MediaLibrary, bucket: Bucket
) -> None:
    other = int(api.create_project("another", LABEL_CONFIG)["id"])
    add_bucket(api, other, bucket, presign=True)
    (task,) = api.import_tasks(project, [{"video": uris(clips)[0]}])
    asked = len(bucket.requests)
    with pytest.raises(
        MediaError, match="answered 404.* does the task's project in Label Studio have a storage for this bucket"
    ):
        read(library, task["data"]["video"], task["id"])
    assert len(bucket.requests) == asked


def test_a_bucket_in_this_network_has_to_be_listed(
    api: AnnotatorApi, label_studio: LabelStudioServer, clips: list[ClipTruth], project: int, bucket: Bucket, tmp_path: Path
) -> None:
    add_bucket(api, project, bucket, presign=True)
    (task,) = api.import_tasks(project, [{"video": uris(clips)[0]}])
    strict = MediaLibrary(tmp_path / "data", LabelStudioClient(label_studio.url, label_studio.legacy_token), (), ("*",))
    asked = len(bucket.requests)
    with pytest.raises(MediaForbidden, match="leads to an address that is not public"):
        read(strict, task["data"]["video"], task["id"])
    assert len(bucket.requests) == asked


def test_videos_in_a_bucket_are_learned_from_and_predicted(
    api: AnnotatorApi, other_backend: Callable[..., BackendServer], clips: list[ClipTruth], project: int, bucket: Bucket
) -> None:
    backend = other_backend(media_hosts=("127.0.0.1",))
    add_bucket(api, project, bucket, presign=True)
    api.connect_backend(project, backend.url, "framewise")
    tasks = api.import_tasks(project, [{"video": uri} for uri in uris(clips)[:2]])
    api.submit_annotation(tasks[0]["id"], true_regions(clips[0]))
    version = wait_for_version(api, project, other_than="untrained")
    shown = api.next_task(project)
    assert shown["id"] == tasks[1]["id"]
    assert [p["model_version"] for p in shown["predictions"] if p["result"]] == [version]
    assert not [path for path in downloaded(backend.settings.data_dir.parent) if path.name != "record.json"]
    assert all("authorization" not in headers for path, headers in bucket.requests if "X-Amz-Signature" in path)
