"""Display matrices in a real Chromium: it shows pictures as the table says with which unit tests compare ours."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from framewise.media.video import decode
from tests.videos import SHOWN_BY_MATRIX, corners_of, corners_picture, with_matrix, write_video
from tests.web_server import Page as Answer
from tests.web_server import Server

SHOWN = """async address => {
  const video = document.createElement("video");
  video.src = address;
  await new Promise((done, failed) => { video.onloadeddata = done; video.onerror = () => failed(video.error.message) });
  // A picture may not be there yet when its data is.
  await new Promise(done => { video.onseeked = done; video.currentTime = 0.05; });
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const bytes = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return {width: canvas.width, height: canvas.height, pixels: btoa(text)};
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    started.pages["/"] = Answer(b"<!doctype html><title>videos</title>", headers={"Content-Type": "text/html"})
    yield started
    started.close()


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(server.url)
    yield page
    page.close()


def shown(page: Page, server: Server, path: Path) -> np.ndarray:
    """Pixels (H, W, 3) of a file's second picture on screen."""
    server.pages[f"/{path.name}"] = Answer(path.read_bytes(), headers={"Content-Type": "video/mp4"})
    found: dict[str, Any] = page.evaluate(SHOWN, f"/{path.name}")
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
    return pixels.reshape(found["height"], found["width"], 4)[..., :3]


@pytest.mark.parametrize("number", range(len(SHOWN_BY_MATRIX)))
def test_chromium_turns_and_mirrors_as_our_table_says(page: Page, server: Server, tmp_path: Path, number: int) -> None:
    matrix = list(SHOWN_BY_MATRIX)[number]
    plain = write_video(tmp_path / "plain.mp4", [corners_picture()] * 3)
    path = with_matrix(plain, tmp_path / f"clip{number}.mp4", matrix)
    assert corners_of(shown(page, server, path)) == corners_of(next(decode(path)).rgb) == SHOWN_BY_MATRIX[matrix]
