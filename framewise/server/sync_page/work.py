"""A session's child process: ``python -m framewise.server.sync_page.work FOLDER`` does the job described in job.json."""

import json
import shutil
import sys
import threading
import traceback
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from framewise.core.isolation import Failure
from framewise.core.progress import Throttled
from framewise.core.storage import write_readable_json
from framewise.server.sync_page.jobs import DEFECT, FAILED, write_state
from framewise.server.sync_page.sessions import JOB, LOG, MANIFEST, PICTURES, RESULTS, SYNCED, Session
from framewise.sync import manifest as manifests

WRITE_SECONDS = 0.25
ALL = "all.zip"


class JobProgress:
    """Progress of all steps, written to a file now and then. Thread-safe."""

    def __init__(self, session: Session, kind: str):
        self.steps: dict[str, float] = {}
        self._session, self._kind = session, kind
        self._lock = threading.Lock()
        self._write = Throttled(lambda *_: write_state(session, kind, "running", self.steps), WRITE_SECONDS)
        self._write(0.0, "")

    def tell(self, share: float, what: str) -> None:
        with self._lock:
            self.steps[what] = max(0.0, min(1.0, share))
            self._write(share, what)

    def end(self, error: str = "") -> None:
        with self._lock:
            write_state(self._session, self._kind, "failed" if error else "done", self.steps, error)


def main(folder: Path) -> int:
    """Do the job. Returns FAILED or DEFECT if it failed; state.json has the reason."""
    from framewise.sync.log import logged

    session = Session(folder)
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    progress = JobProgress(session, job["kind"])
    try:
        with logged(folder / LOG):
            {"estimate": estimate, "apply": apply}[job["kind"]](session, job, progress)
    except Exception as error:
        failure = Failure(error)
        if failure.is_defect:
            traceback.print_exc()
        progress.end(failure.text)
        return DEFECT if failure.is_defect else FAILED
    progress.end()
    return 0


def estimate(session: Session, job: dict[str, Any], progress: JobProgress) -> None:
    """job: method, max_offset (seconds; None: all), minimum_confidence, reference (a number)."""
    from framewise.sync import estimate_offsets
    from framewise.sync.offsets.estimate import EstimateOptions

    stored = sorted(session.recordings(), key=lambda s: s.number != job["reference"])
    pictures = session.folder / f".{PICTURES}.new"
    shutil.rmtree(pictures, ignore_errors=True)
    options = EstimateOptions(job["method"], job["max_offset"], job["minimum_confidence"], pictures)
    made = estimate_offsets([s.path for s in stored], options, progress.tell)
    for old in (SYNCED, PICTURES):
        shutil.rmtree(session.folder / old, ignore_errors=True)
    manifests.write(made, session.folder / MANIFEST)
    if pictures.is_dir():
        pictures.rename(session.folder / PICTURES)


def apply(session: Session, job: dict[str, Any], progress: JobProgress) -> None:
    """job: mode, correct_drift. Existing outputs stay until the new ones are complete."""
    from framewise.sync import apply_offsets
    from framewise.sync.apply.applying import ApplyOptions

    made = session.manifest()
    assert made is not None  # checked before the start
    new = session.folder / f".{SYNCED}.new"
    shutil.rmtree(new, ignore_errors=True)
    options = ApplyOptions(new, job["mode"], job["correct_drift"])
    done = apply_offsets(made, options, lambda share, what: progress.tell(share, "writing"))
    numbers = {stored.path.name: stored.number for stored in session.recordings()}
    outputs = [
        {
            "number": numbers[o.recording],
            "file": o.path.name,
            "how": o.how,
            "frames": done.frames,
            "rate": float(done.frame_rate),
        }
        for o in done.outputs
        if o.path
    ]
    results = {"mode": done.mode, "outputs": outputs, "left_out": [numbers[name] for name in done.left_out]}
    progress.tell(0.0, "ZIP")
    _zip(session, new, outputs)
    progress.tell(1.0, "ZIP")
    write_readable_json(new / RESULTS, results)
    shutil.rmtree(session.folder / SYNCED, ignore_errors=True)
    new.rename(session.folder / SYNCED)


def _zip(session: Session, folder: Path, outputs: list[dict[str, Any]]) -> None:
    """ZIP all outputs under users' names, with the manifest. Media do not compress, so they are stored uncompressed."""
    names = output_names(session, outputs)
    with zipfile.ZipFile(folder / ALL, "x", zipfile.ZIP_STORED) as archive:
        for output, name in zip(outputs, names, strict=True):
            archive.write(folder / output["file"], name)
        told = manifests.to_json(session.shown_manifest(), session.folder)
        archive.writestr(MANIFEST, json.dumps(told, indent=2) + "\n")


def output_names(session: Session, outputs: list[dict[str, Any]]) -> list[str]:
    """Users' names of outputs: their own, with the suffix of the written file."""
    stems = [PurePosixPath(session.recording(output["number"]).name).stem for output in outputs]
    named = [Path(f"{stem}{PurePosixPath(output['file']).suffix}") for stem, output in zip(stems, outputs, strict=True)]
    return manifests.unique_names(named)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
