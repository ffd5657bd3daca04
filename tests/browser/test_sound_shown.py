"""Sound that browsers do not play, or whose length they do not know, in a real Chromium: it is advised on."""

import base64
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from playwright.sync_api import Browser

from framewise.core.errors import MediaError
from framewise.demo.label_studio_server import LabelStudioServer
from framewise.media.audio_shown import sound_facts, sound_notes
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi

# As the editor loads a file: an element that plays it, and all of its samples for the waveform.
HEARD = """async text => {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), element = document.createElement("audio");
  const seconds = await new Promise(done => {
    element.addEventListener("canplaythrough", () => done(element.duration));
    element.addEventListener("error", () => done(NaN));
    element.src = URL.createObjectURL(new Blob([bytes]));
  });
  try { await new OfflineAudioContext(1, 2, 44100).decodeAudioData(bytes.buffer); } catch (error) { return false; }
  return Number.isFinite(seconds);
}"""
FILES = [
    ("a.wav", "pcm_s16le"), ("a24.wav", "pcm_s24le"), ("a32.wav", "pcm_s32le"), ("f32.wav", "pcm_f32le"),
    ("f64.wav", "pcm_f64le"), ("u8.wav", "pcm_u8"), ("alaw.wav", "pcm_alaw"), ("mulaw.wav", "pcm_mulaw"),
    ("adpcm.wav", "adpcm_ima_wav"), ("piped.wav", "pcm_s16le"), ("a.mp3", "mp3"), ("a.mp2", "mp2"), ("a.flac", "flac"),
    ("piped.flac", "flac"), ("a.opus", "libopus"), ("flac.ogg", "flac"), ("a.m4a", "aac"), ("alac.m4a", "alac"),
    ("mp3.mp4", "mp3"), ("a.mov", "pcm_s16le"), ("be.mov", "pcm_s16be"), ("be24.mov", "pcm_s24be"), ("a.webm", "libopus"),
    ("piped.webm", "libopus"), ("a.mka", "flac"), ("a.aac", "aac"), ("a.avi", "mp3"), ("a.ts", "aac"), ("a.aiff", "pcm_s16be"),
]  # fmt: skip


class Pipe(io.RawIOBase):
    """A file in which nothing can be changed once it is written."""

    def __init__(self, path: Path):
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()


def write(path: Path, codec: str, rate: int = 48_000) -> Path:
    """Three seconds of a tone."""
    target: Any = Pipe(path) if path.stem == "piped" else str(path)
    tone = (np.sin(np.arange(3 * rate) / rate * 2 * np.pi * 440) * 0.3).astype(np.float32)
    kind = {"aac": "adts", "mka": "matroska", "m4a": "mp4", "ts": "mpegts"}.get(path.suffix[1:], path.suffix[1:])
    with av.open(target, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", rate)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for part in resampler.resample(frame):
                container.mux(stream.encode(part))
        for part in resampler.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    if path.stem == "piped":
        target.close()
    return path


@pytest.mark.parametrize(("name", "codec"), FILES)
def test_what_browsers_do_not_play_is_advised_on(browser: Browser, tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, codec)
    page = browser.new_page()
    try:
        page.goto("about:blank")
        heard = page.evaluate(HEARD, base64.b64encode(path.read_bytes()).decode())
    finally:
        page.close()
    try:
        advice = [note.about(name) for note in sound_notes(name, sound_facts(path))]
    except MediaError:  # of a container that is not read
        assert not heard
        return
    assert bool(advice) == (not heard), advice
    assert not advice or advice[0].endswith(f"before you annotate: ffmpeg -i {name} -vn {path.stem}-flac.flac")


@pytest.mark.parametrize("tag", ["Audio", "AudioPlus", "audio"])
def test_label_studio_shows_no_sound_without_a_length(
    editor: Editor, api: AnnotatorApi, label_studio: LabelStudioServer, tag: str
) -> None:
    folder = label_studio.document_root / f"sound {tag}"
    folder.mkdir()
    files = [write(folder / name, "flac") for name in ("a.flac", "piped.flac")]
    xml = (
        '<View><Labels name="l" toName="s" model_trainable="true"><Label value="A"/></Labels>'
        f'<{tag} name="s" value="/data/local-files/?d={folder.name}/$file"/></View>'
    )
    project = int(api.create_project("sound", xml)["id"])
    api.request("POST", "/api/storages/localfiles/", json={"project": project, "path": str(folder), "use_blob_urls": True})
    whole, endless = api.import_tasks(project, [{"file": path.name} for path in files])
    page, seconds = f"{editor.url}/projects/{project}/data?task=", "annotation()?.names?.get('s')?._ws?.duration"
    editor.page.goto(f"{page}{whole['id']}")
    editor._wait(f"taskId() === {whole['id']} && {seconds} === 3", "no sound")
    editor.page.goto("about:blank")
    # The editor writes the length as a time, and breaks over one that is infinite.
    with editor.page.expect_event("pageerror", lambda error: "Invalid time value" in str(error)):
        editor.page.goto(f"{page}{endless['id']}")
    editor._wait(f"taskId() === {endless['id']} && !document.querySelector('.lsf-editor')", "an editor")
    assert editor._run(f"return {seconds} ?? null") is None
