"""Label Studio's editor in a real browser: what is drawn on the timeline and which picture is shown at a frame.

Frames are Label Studio's numbers, 1-based. The browser is a Chromium of the system, since it has to play H.264.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Error, Page, Playwright, TimeoutError, sync_playwright

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    # Label Studio's pages ask outside hosts for fonts and counters; it works without them, a test must not need them.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
)

# The functions that every script below may use: the editor's store, its video tag, and the element that plays.
_SCRIPT_HEAD = """
const annotation = () => window.Htx?.annotationStore?.selected;
const video = () => [...(annotation()?.names?.values() ?? [])].find(tag => tag.type === "video");
const element = () => document.querySelector("body > video");
const sameElementFor = milliseconds => {
  if (window.elementSeen !== element()) [window.elementSeen, window.elementSince] = [element(), performance.now()];
  return performance.now() - window.elementSince >= milliseconds;
};
const taskId = () => Number(window.Htx?.task?.id);
const everyPixel = (bytes, width, height, step) => {
  if (step === 1) return {width, height, bytes};
  const thin = {width: Math.ceil(width / step), height: Math.ceil(height / step)}, all = new Uint32Array(bytes.buffer);
  const some = new Uint32Array(thin.width * thin.height);
  for (let i = 0; i < some.length; i++)
    some[i] = all[Math.floor(i / thin.width) * step * width + i % thin.width * step];
  return {...thin, bytes: new Uint8Array(some.buffer)};
};
const pixels = (source, left, top, width, height, step = 1) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(source, left, top, width, height, 0, 0, width, height);
  const {bytes, ...size} = everyPixel(context.getImageData(0, 0, width, height).data, width, height, step);
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return {...size, base64: btoa(text)};
};
"""


_PICTURES_SCRIPT = """
const v = element(), answers = [];
for (const frame of argument.frames) {
  const settled = Promise.all([
    new Promise(done => v.addEventListener("seeked", done, {once: true})),
    new Promise(done => v.requestVideoFrameCallback(done))]);
  const late = new Promise(done => setTimeout(() => done("late"), 60000));
  video().ref.current.goToFrame(frame);
  if (await Promise.race([settled, late]) === "late") return {answers, frame, replaced: v !== element()};
  await new Promise(done => requestAnimationFrame(done));
  answers.push(pixels(v, 0, 0, v.videoWidth, v.videoHeight, argument.step));
}
return {answers, frame: null, replaced: v !== element()};
"""
# Takes the page to another place in Label Studio as one of its links would, without loading it anew.
_GO = """
history.pushState({}, "", argument);
dispatchEvent(new PopStateEvent("popstate", {state: {}}));
"""
# On a busy machine the editor may replace its first element by another one.
_LOADED = "video()?.length > 1 && element()?.readyState >= 2 && !element().seeking && sameElementFor(300)"


class EditorError(AssertionError):
    """The editor does not show what was asked for."""


@dataclass(frozen=True)
class EditorRegion:
    """A region in the editor's store.

    ranges: (start, end) frames, both included; end is None for an open one. origin: "prediction", "manual", ..
    """

    id: str
    labels: tuple[str, ...]
    ranges: tuple[tuple[int, int | None], ...]
    origin: str
    score: float | None


@dataclass(frozen=True)
class DrawnRegion:
    """A row of the timeline as the page has it.

    ranges: (start, end) frames, computed back from the bars' pixels; a bar runs from the middle of its first frame to
    the middle of its last one.
    """

    id: str
    label: str
    ranges: tuple[tuple[float, float], ...]


def find_chromium(environ: Mapping[str, str] | None = None) -> Path:
    """The Chromium named by the variable CHROMIUM, else the first one on PATH.

    Raises FileNotFoundError that says how to install one.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("CHROMIUM")
    if named:
        found = shutil.which(named)
        if found is None:
            raise FileNotFoundError(f"CHROMIUM={named} is no program; unset it to use the one on PATH")
        return Path(found)
    for name in CHROMIUM_NAMES:
        found = shutil.which(name, path=environ.get("PATH"))
        if found is not None:
            return Path(found)
    raise FileNotFoundError(
        f"no {', '.join(CHROMIUM_NAMES)} on PATH; install one (Debian, Ubuntu: apt-get install chromium) "
        "or name it in the environment variable CHROMIUM"
    )


_in_use: list[Playwright] = []  # once for each browser that runs; all of a process share one, which it allows no second of


@contextmanager
def chromium(*more: str, program: Path | None = None, timeout_seconds: float = 300.0) -> Iterator[Browser]:
    """A browser that runs. more: further arguments."""
    _in_use.append(_in_use[-1] if _in_use else sync_playwright().start())
    try:
        browser = _in_use[-1].chromium.launch(
            executable_path=str(program or find_chromium()), args=[*CHROMIUM_ARGS, *more], timeout=timeout_seconds * 1000
        )
        yield browser
        browser.close()
    finally:
        last = _in_use.pop()
        if not _in_use:
            last.stop()


class Editor:
    """A browser logged in to Label Studio, to open tasks and read what the editor shows.

    url, username, password: as `LabelStudioServer` has them.
    viewport: width, height of the window in pixels.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        *,
        program: str | Path | None = None,
        viewport: tuple[int, int] = (1600, 1200),
        timeout_seconds: float = 300.0,
    ) -> None:
        self.url = url.rstrip("/")
        self._account = (username, password)
        self._program = Path(program) if program else find_chromium()
        self._viewport = viewport
        self._timeout_seconds = timeout_seconds
        self._running = ExitStack()
        self._page: Page | None = None

    @property
    def page(self) -> Page:
        """The playwright page, for what is not offered here. Raises EditorError before entering."""
        if self._page is None:
            raise EditorError("the browser is not open; use `with Editor(..) as editor:`")
        return self._page

    def __enter__(self) -> Editor:
        try:
            browser = self._running.enter_context(chromium(program=self._program, timeout_seconds=self._timeout_seconds))
            width, height = self._viewport
            self._page = browser.new_page(viewport={"width": width, "height": height})
            self._page.set_default_timeout(self._timeout_seconds * 1000)
            self._log_in()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        self._page = None
        self._running.close()

    def _log_in(self) -> None:
        username, password = self._account
        self.page.goto(f"{self.url}/user/login/")
        self.page.fill("input[name=email]", username)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "/user/login" not in url)

    def open_task(self, project_id: int, task_id: int) -> None:
        """Open a task from the Data Manager, wait until its first picture is there. Raises EditorError."""
        self._open(f"/projects/{project_id}/data?task={task_id}", f"taskId() === {int(task_id)}")

    def show_task(self, project_id: int, task_id: int, ready: str = _LOADED, failure: str = "no video") -> None:
        """Show a task without annotations as `open_task` does, in the page that is there: Label Studio's scripts, most of the
        time of a load, are run once. Its editor begins anew with the task.

        ready: script of a condition to wait for. Raises EditorError with `failure`.
        """
        path = f"/projects/{int(project_id)}/data"
        is_here, is_editor = f'location.pathname === "{path}"', 'Boolean(document.querySelector(".lsf-editor"))'
        self._run("window.shownBefore = annotation()")
        if not self._run(f"return {is_editor}"):
            self.page.goto(f"{self.url}{path}?task={int(task_id)}")
        elif self._run(f"return {is_here} && Boolean(window.dataManager?.lsf?.lsf) && !dataManager.lsf.labelStream"):
            self._run("await dataManager.lsf.loadTask(argument)", task_id)
        else:
            self._run(_GO, "/projects/")
            self._wait(f"!{is_editor}", "Label Studio's list of projects is not shown")
            self._run(_GO, f"{path}?task={int(task_id)}")
        self._wait(f"annotation() && annotation() !== window.shownBefore && taskId() === {int(task_id)} && {ready}", failure)

    def open_label_stream(self, project_id: int) -> int:
        """Open "Label All Tasks", wait until the first picture is there; the id of the task. Raises EditorError."""
        self._open(f"/projects/{project_id}/data?labeling=1", "taskId() > 0")
        return int(self._run("return taskId()"))

    def _open(self, path: str, condition: str) -> None:
        self.page.goto("about:blank")  # so that no state of a task opened before can be taken for this one's
        self.page.goto(self.url + path)
        self._wait(f"{condition} && {_LOADED}", f"{path} shows no video")

    def regions(self) -> list[EditorRegion]:
        """The selected annotation's regions from the editor's store, in its order."""
        found = self._run("""
            return annotation().regions.map(region => ({
              id: region.cleanId, labels: [...(region.labels ?? [])], origin: region.origin, score: region.score,
              ranges: (region.ranges ?? []).map(range => [range.start, range.end])}))""")
        return [
            EditorRegion(
                id=region["id"],
                labels=tuple(region["labels"]),
                ranges=tuple((start, end) for start, end in region["ranges"]),
                origin=region["origin"],
                score=region["score"],
            )
            for region in found
        ]

    def drawn_regions(self) -> list[DrawnRegion]:
        """The rows that the page's timeline has, from top to bottom."""
        found = self._run("""
            const step = parseFloat(
              getComputedStyle(document.querySelector(".lsf-timeline-frames")).getPropertyValue("--frame-size"));
            return [...document.querySelectorAll(".lsf-keypoints_timeline")].map(row => ({
              id: row.dataset.id, label: row.querySelector(".lsf-keypoints__name").innerText,
              ranges: [...row.querySelectorAll(".lsf-keypoints__lifespan")].map(bar => {
                const start = (parseFloat(bar.style.left) - step / 2) / step + 1;
                return [start, start + bar.getBoundingClientRect().width / step];
              })}))""")
        return [DrawnRegion(row["id"], row["label"], tuple((start, end) for start, end in row["ranges"])) for row in found]

    def drawn_colour(self, region_id: str) -> np.ndarray:
        """Mean RGB (3,) float64 in 0 .. 255 of the screen's pixels along a region's first bar, scrolled into view.

        A timeline's row is half transparent over a light ground. Raises EditorError if the region has no bar.
        """
        bar = self.page.locator(f'.lsf-keypoints_timeline[data-id="{region_id}"] .lsf-keypoints__lifespan').first
        if bar.count() == 0:
            raise EditorError(f"the timeline has no bar for region {region_id!r}")
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        if box is None or box["height"] < 1:
            raise EditorError(f"the bar of region {region_id!r} is not visible")
        if box["width"] < 2:  # a single frame is drawn as a point without a bar
            box = bar.locator(".lsf-keypoints__point").first.bounding_box() or box
        # a long bar may run out of the window; 60 pixels tell its colour
        clip = {"x": box["x"], "y": box["y"], "width": max(2.0, min(box["width"], 60.0)), "height": box["height"]}
        encoded = base64.b64encode(self.page.screenshot(clip=clip, type="png")).decode()
        picture = self._run(
            """
            const image = new Image();
            image.src = "data:image/png;base64," + argument;
            await image.decode();
            return pixels(image, 0, 0, image.width, image.height)""",
            encoded,
        )
        return _to_rgb(picture).reshape(-1, 3).mean(axis=0)

    @property
    def num_frames(self) -> int:
        """The editor's length of the video, the N of "1 of N"."""
        return int(self._run("return video().length"))

    @property
    def frame_rate(self) -> float:
        """The frame rate that the editor uses, from the labeling configuration."""
        return float(self._run("return Number(video().framerate)"))

    @property
    def duration_seconds(self) -> float:
        """`duration` of the element that plays, as the browser reports it now."""
        return float(self._run("return element().duration"))

    @property
    def current_seconds(self) -> float:
        """`currentTime` of the element that plays."""
        return float(self._run("return element().currentTime"))

    @property
    def current_frame(self) -> int:
        """The frame that the editor shows."""
        return int(self._run("return video().ref.current.currentFrame"))

    def seek(self, frame: int) -> int:
        """Go to a frame the way the timeline does, wait until its picture is there; the frame the editor then shows.

        That is another one where the browser cannot go there, as before the first picture of a late starting video.
        Raises EditorError if there is no picture in time.
        """
        settle = "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        # two animation frames: first the seek gets under way, afterwards the editor's canvas is drawn anew
        self._run(f"video().ref.current.goToFrame(argument); {settle}", frame)
        self._wait("!element().seeking && element().readyState >= 2", f"no picture for frame {frame}")
        return int(
            self._run(
                f"""
                const end = performance.now() + 1000;
                do {{ {settle} }} while (video().ref.current.currentFrame !== argument && performance.now() < end);
                return video().ref.current.currentFrame""",
                frame,
            )
        )

    def picture(self, frame: int | None = None) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of the playing element at the file's size, at `frame` or where it stands."""
        if frame is not None:
            self.seek(frame)
        return _to_rgb(self._run("const v = element(); return pixels(v, 0, 0, v.videoWidth, v.videoHeight)"))

    def pictures(self, frames: Sequence[int], step: int = 1) -> list[np.ndarray]:
        """Pixels (H, W, 3) uint8 of the playing element at each frame, in the order given: `picture` for many, in one call.
        With a step only every so many-th pixel of every so many-th line, from the first on.

        Each seek goes the timeline's way and is waited for until it has ended and the browser has handed a new picture to the
        screen. Both come in either order, and a script cannot know of a picture that comes later still: give an order in which
        no frame shows what the one before showed, then an old picture is a wrong one. Raises EditorError if nothing new came.
        """
        for _ in range(3):
            self._wait(_LOADED, "no video to look at")
            found = self._run(_PICTURES_SCRIPT, {"frames": list(frames), "step": step})
            if not found["replaced"]:
                break
        if found["replaced"] or found["frame"] is not None:
            raise EditorError(f"no new picture for frame {found['frame']} after 60 s; {self._state()}")
        return [_to_rgb(answer) for answer in found["answers"]]

    def canvas_picture(self, frame: int | None = None) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of the picture on the editor's canvas, as the annotator sees it (unzoomed)."""
        if frame is not None:
            self.seek(frame)
        return _to_rgb(
            self._run("""
            const {videoDimensions: {width, height, ratio}} = video().ref.current;
            const canvas = [...document.querySelectorAll("canvas")].find(c => c.width * c.height > 1);
            const [w, h] = [Math.floor(width * ratio), Math.floor(height * ratio)];
            return pixels(canvas, Math.round((canvas.width - w) / 2), Math.round((canvas.height - h) / 2), w, h)""")
        )

    def submit(self) -> None:
        """Click Submit, or Update (offered only after a change), and wait until Label Studio has saved.

        Raises EditorError if it refused, playwright's TimeoutError if there was nothing to click.
        """
        saved = re.compile(r"/api/(tasks/\d+/annotations|annotations/\d+)/?(\?|$)")
        with self.page.expect_response(
            lambda answer: answer.request.method in ("POST", "PATCH") and bool(saved.search(answer.url))
        ) as answered:
            self.page.locator('button[name="submit"]:enabled, button[name="update"]:enabled').first.click()
        if not answered.value.ok:
            raise EditorError(f"Label Studio answered {answered.value.status} to the submission")

    def screenshot(self, path: str | Path) -> None:
        """Write the window as a .png."""
        self.page.screenshot(path=str(path))

    def show_timeline(self) -> None:
        """Scroll the timeline's rows into view, for a screenshot."""
        self.page.locator(".lsf-timeline-frames").scroll_into_view_if_needed()

    def click_along_series(self, name: str, shares: Sequence[float]) -> None:
        """Click the plot of a series of that name at these shares of its width. Raises EditorError if the video does not follow
        to the second that is drawn there."""
        plot = self.page.locator(".htx-timeseries-channel .new_brush rect.overlay").first
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        if not box:
            raise EditorError(f"no plot of {name}")
        for share in shares:
            # A person's pace: for a moment after a message of one medium, the editor takes none of another.
            self.page.wait_for_timeout(1000)
            first, last = self._run("return [...annotation().names.get(argument).brushRange]", name)
            seconds = first + share * (last - first)
            self.page.mouse.click(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
            self._wait(f"Math.abs(element().currentTime - {seconds}) < 0.08", f"the video did not follow to {seconds} s")

    def _run(self, body: str, argument: Any = None) -> Any:
        """Run the body of an async function in the page, with the helpers above and `argument`."""
        return self.page.evaluate(f"async argument => {{ {_SCRIPT_HEAD} {body} }}", argument)

    def _wait(self, condition: str, failure: str) -> None:
        try:
            self.page.wait_for_function(f"() => {{ {_SCRIPT_HEAD} return Boolean({condition}) }}")
        except TimeoutError as error:
            raise EditorError(f"{failure} after {self._timeout_seconds:g} s; {self._state()}") from error

    def _state(self) -> str:
        """The page as it is now, for an error message."""
        try:
            return self._run("""
                const v = element();
                return `url ${location.href}, frame ${video()?.ref?.current?.currentFrame} of ${video()?.length}, ` +
                  `video ${v?.currentSrc} readyState ${v?.readyState} error ${v?.error?.message}, ` +
                  `page says: ${document.body.innerText.slice(0, 300)}`""")
        except Error as error:
            return f"and the page cannot be read: {error}"


def _to_rgb(picture: Mapping[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8 from what the page's `pixels` returned."""
    rgba = np.frombuffer(base64.b64decode(picture["base64"]), dtype=np.uint8)
    return rgba.reshape(picture["height"], picture["width"], 4)[..., :3].copy()
