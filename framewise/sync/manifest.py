"""``sync.json``: start time of each recording of a scene, with its confidence.

*offset* is the start minus the start of the reference, in seconds: positive for a recording that started later. *drift_ppm*
says by how much its clock runs slower than the reference's. Second ``t`` of a recording is second
(1 + drift_ppm * 1e-6) * t + offset of the reference.

The reader validates every field: a manifest may come from anybody. Unknown fields are ignored.
"""

import datetime
import json
import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from framewise.core.errors import RequestError, brief
from framewise.core.files import read_text
from framewise.core.storage import write_readable_json

FORMAT, VERSION = "framewise-sync", 1
METHODS = ("audio", "visual", "both")
RATINGS = ("excellent", "good", "fair", "poor")
RATING_FROM = (0.8, 0.5, 0.2)  # minimum confidence of each rating except the last
MAX_RECORDINGS = 1000
MAX_CHARS = 50_000_000
MAX_SECONDS = 1e7  # about four months; longer than any recording
MAX_DRIFT_PPM = 100_000.0  # 10 %: more than any clock drifts, and too little to reverse time
MAX_NAME_BYTES = 200  # leaves room for a suffix: file systems allow 255
MAX_RATE = 10_000
CURE = "create it again with `framewise sync estimate`"

T = TypeVar("T")
_RATE = re.compile(r"(\d{1,9})(?:/(\d{1,9}))?", re.ASCII)
_CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


@dataclass(frozen=True)
class Estimate:
    """Result of one method for one recording. offset: seconds, None without an answer. drift_ppm: None if not measured."""

    offset: float | None
    confidence: float
    drift_ppm: float | None = None


@dataclass(frozen=True)
class Recording:
    """A recording. name: of its file, unique. path: absolute. size: bytes. duration: seconds. frame_rate, frames: None without
    pictures. sample_rate: Hz, None without sound. offset: None without an answer. reason: why there is no answer, or what
    lowers its confidence."""

    name: str
    path: Path
    size: int
    duration: float
    frame_rate: Fraction | None
    frames: int | None
    sample_rate: int | None
    answered: bool
    offset: float | None
    drift_ppm: float | None
    confidence: float
    rating: str
    reason: str = ""
    audio: Estimate | None = None
    visual: Estimate | None = None
    audio_video_diff: float | None = None

    @property
    def rate(self) -> float:
        """Seconds on the reference's clock per second on this recording's."""
        return 1 + (self.drift_ppm or 0.0) * 1e-6


@dataclass(frozen=True)
class Pair:
    """Result for two recordings. offset: start of b minus start of a. residual: its difference from the overall solution."""

    a: str
    b: str
    method: str
    offset: float | None
    confidence: float
    residual: float | None


@dataclass(frozen=True)
class Manifest:
    """Contents of ``sync.json``. created: UTC, 2026-01-02T03:04:05Z. max_offset: search range, seconds. loop_residual: of the
    worst loop, seconds."""

    created: str
    request_id: str
    method: str
    max_offset: float
    minimum_confidence: float
    reference: str
    recordings: tuple[Recording, ...]
    pairs: tuple[Pair, ...] = ()
    loop_residual: float | None = None

    def recording(self, name: str) -> Recording:
        """Recording of this name. Raises RequestError if there is none."""
        for recording in self.recordings:
            if recording.name == name:
                return recording
        raise RequestError(f"the manifest has no recording {brief(name)}; it has {brief([r.name for r in self.recordings])}")

    @property
    def answered(self) -> tuple[Recording, ...]:
        """Recordings whose offset is known, including the reference."""
        return tuple(recording for recording in self.recordings if recording.answered)


def on_other_clock(seconds: float, rate: float, offset: float, other_rate: float, other_offset: float) -> float:
    """Map ``seconds`` of one recording to seconds of another. rate: reference seconds per second of a recording."""
    return (rate * seconds + offset - other_offset) / other_rate


def rating_of(confidence: float) -> str:
    """Rating, as a word, of a confidence in [0, 1]."""
    return next((word for word, least in zip(RATINGS, RATING_FROM, strict=False) if confidence >= least), RATINGS[-1])


def new_request_id() -> str:
    """New id that identifies a run in logs: 8 hex digits."""
    return secrets.token_hex(4)


def now() -> str:
    """Current time in the format of ``Manifest.created``."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Unique name for each file: its own, or with -2, -3 before the suffix if an earlier file has it. Case is ignored, because
    some file systems do not distinguish it."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.name, 2
        while name.casefold() in taken:
            name, number = f"{path.stem}-{number}{path.suffix}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


# Writing.


def write(manifest: Manifest, path: Path) -> None:
    """Write a manifest atomically, under a temporary name that is then renamed. Raises RequestError, StorageFull."""
    write_readable_json(path, to_json(manifest, path.absolute().parent))


def to_json(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """Manifest as JSON. Paths of recordings below the folder are relative to it, others absolute."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": manifest.created,
        "request_id": manifest.request_id,
        "method": manifest.method,
        "max_offset": manifest.max_offset,
        "minimum_confidence": manifest.minimum_confidence,
        "reference": manifest.reference,
        "recordings": [_recording_json(recording, folder) for recording in manifest.recordings],
        "pairs": [vars(pair) for pair in manifest.pairs],
        "loop_residual": manifest.loop_residual,
    }


def _recording_json(recording: Recording, folder: Path) -> dict[str, Any]:
    path, rate = recording.path.absolute(), recording.frame_rate
    return {
        **vars(recording),
        "path": path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix(),
        "frame_rate": None if rate is None else f"{rate.numerator}/{rate.denominator}",
        "audio": vars(recording.audio) if recording.audio else None,
        "visual": vars(recording.visual) if recording.visual else None,
    }


# Reading.


def read(path: Path) -> Manifest:
    """Read a manifest from a file. Raises RequestError that names the invalid field."""
    text = read_text(path)
    if len(text) > MAX_CHARS:
        raise RequestError(f"{path}: expected a manifest of at most {MAX_CHARS} characters, found {len(text)}; {CURE}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError(f"{path} is not valid JSON, or nested too deeply; {CURE}") from None
    try:
        return from_json(found, path.absolute().parent)
    except RequestError as error:
        raise RequestError(f"{path}: {error}; {CURE}") from None


def from_json(found: Any, folder: Path) -> Manifest:
    """Manifest from the JSON of a file in ``folder``. Raises RequestError that names the field, what was expected and found."""
    top = _Fields(found, "")
    if (top.get("format"), top.get("version")) != (FORMAT, VERSION):
        raise RequestError(
            f"expected format {FORMAT!r} of version {VERSION}, found {brief(top.get('format'))} of {brief(top.get('version'))}"
        )
    manifest = Manifest(
        created=top.matching("created", _CREATED, "a time such as 2026-01-02T03:04:05Z"),
        request_id=top.matching("request_id", re.compile(r"[0-9a-f]{8}"), "8 hexadecimal digits"),
        method=top.one_of("method", METHODS),
        max_offset=top.number("max_offset", 0, MAX_SECONDS),
        minimum_confidence=top.number("minimum_confidence", 0, 1),
        reference=top.text("reference"),
        recordings=tuple(_recording(item, i, folder) for i, item in enumerate(top.list("recordings", MAX_RECORDINGS))),
        pairs=tuple(_pair(item, i) for i, item in enumerate(top.list("pairs", 3 * MAX_RECORDINGS**2))),
        loop_residual=top.maybe(top.number, "loop_residual", 0, MAX_SECONDS),
    )
    _check(manifest)
    return manifest


class _Fields:
    """Fields of an object. A missing field, or one of the wrong type, raises RequestError that names it."""

    def __init__(self, found: Any, place: str):
        if not isinstance(found, Mapping):
            raise RequestError(f"{place or 'the manifest'}: expected an object, found {brief(found)}")
        self._found, self._place = found, f"{place}." if place else ""

    def get(self, name: str) -> Any:
        if name not in self._found:
            raise RequestError(f"{self._place}{name}: expected a value, found none")
        return self._found[name]

    def wrong(self, name: str, expected: str) -> RequestError:
        return RequestError(f"{self._place}{name}: expected {expected}, found {brief(self._found[name])}")

    def maybe(self, read: Callable[..., T], name: str, *args: Any) -> T | None:
        return None if self.get(name) is None else read(name, *args)

    def number(self, name: str, low: float, high: float) -> float:
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not (low <= value <= high):
            raise self.wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int:
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        return value

    def boolean(self, name: str) -> bool:
        value = self.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def one_of(self, name: str, allowed: Sequence[str]) -> str:
        value = self.get(name)
        if value not in allowed:
            raise self.wrong(name, " or ".join(allowed))
        return str(value)

    def matching(self, name: str, form: re.Pattern[str], expected: str) -> str:
        value = self.get(name)
        if not isinstance(value, str) or not form.fullmatch(value):
            raise self.wrong(name, expected)
        return value

    def list(self, name: str, most: int) -> list[Any]:
        value = self.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(name, f"a list of at most {most}")
        return value

    def file_name(self, name: str) -> str:
        value = self.text(name)
        if not is_file_name(value):
            raise self.wrong(name, f"the name of a file, without a folder, of at most {MAX_NAME_BYTES} bytes")
        return value

    def rate(self, name: str) -> Fraction:
        value = self.get(name)
        parts = _RATE.fullmatch(value) if isinstance(value, str) else None
        if not parts or not int(parts[2] or 1) or not 0 < Fraction(int(parts[1]), int(parts[2] or 1)) <= MAX_RATE:
            raise self.wrong(name, 'pictures a second as text such as "30000/1001"')
        return Fraction(int(parts[1]), int(parts[2] or 1))

    def path(self, name: str, folder: Path) -> Path:
        value = self.text(name)
        pure = PurePosixPath(value)
        if not value or "\0" in value or ".." in pure.parts:
            raise self.wrong(name, "an absolute path, or one below the manifest's folder, without ..")
        return folder / pure


def is_file_name(text: str) -> bool:
    """True if a text is safe as a file name: no path separators, no control characters."""
    plain = text not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", text)
    return plain and len(text.encode(errors="surrogatepass")) <= MAX_NAME_BYTES


def _recording(found: Any, place: int, folder: Path) -> Recording:
    fields = _Fields(found, f"recordings[{place}]")
    return Recording(
        name=fields.file_name("name"),
        path=fields.path("path", folder),
        size=fields.whole("size", 0, 2**63),
        duration=fields.number("duration", 0, MAX_SECONDS),
        frame_rate=fields.maybe(fields.rate, "frame_rate"),
        frames=fields.maybe(fields.whole, "frames", 0, 2**40),
        sample_rate=fields.maybe(fields.whole, "sample_rate", 1, 10_000_000),
        answered=fields.boolean("answered"),
        offset=fields.maybe(fields.number, "offset", -MAX_SECONDS, MAX_SECONDS),
        drift_ppm=fields.maybe(fields.number, "drift_ppm", -MAX_DRIFT_PPM, MAX_DRIFT_PPM),
        confidence=fields.number("confidence", 0, 1),
        rating=fields.one_of("rating", RATINGS),
        reason=fields.text("reason"),
        audio=_estimate(fields.get("audio"), f"recordings[{place}].audio"),
        visual=_estimate(fields.get("visual"), f"recordings[{place}].visual"),
        audio_video_diff=fields.maybe(fields.number, "audio_video_diff", -MAX_SECONDS, MAX_SECONDS),
    )


def _estimate(found: Any, place: str) -> Estimate | None:
    if found is None:
        return None
    fields = _Fields(found, place)
    return Estimate(
        offset=fields.maybe(fields.number, "offset", -MAX_SECONDS, MAX_SECONDS),
        confidence=fields.number("confidence", 0, 1),
        drift_ppm=fields.maybe(fields.number, "drift_ppm", -MAX_DRIFT_PPM, MAX_DRIFT_PPM),
    )


def _pair(found: Any, place: int) -> Pair:
    fields = _Fields(found, f"pairs[{place}]")
    return Pair(
        a=fields.text("a"),
        b=fields.text("b"),
        method=fields.one_of("method", METHODS),
        offset=fields.maybe(fields.number, "offset", -MAX_SECONDS, MAX_SECONDS),
        confidence=fields.number("confidence", 0, 1),
        residual=fields.maybe(fields.number, "residual", -MAX_SECONDS, MAX_SECONDS),
    )


def _check(manifest: Manifest) -> None:
    """Check what involves several fields. Raises RequestError."""
    names = [recording.name for recording in manifest.recordings]
    seen: set[str] = set()
    for place, name in enumerate(names):
        if name.casefold() in seen:
            raise RequestError(
                f"recordings[{place}].name: expected a name that no other recording has, found {brief(name)} twice"
            )
        seen.add(name.casefold())
    if manifest.reference not in names:
        raise RequestError(f"reference: expected the name of a recording, found {brief(manifest.reference)}")
    for place, recording in enumerate(manifest.recordings):
        if recording.answered != (recording.offset is not None):
            raise RequestError(
                f"recordings[{place}].offset: expected a number where answered is true and null where it is false, found "
                f"{recording.offset} and {recording.answered}"
            )
    reference = manifest.recording(manifest.reference)
    if reference.offset != 0 or reference.drift_ppm:
        raise RequestError(f"reference: expected offset 0 and no drift of {brief(reference.name)}, found {reference.offset}")
    for place, pair in enumerate(manifest.pairs):
        for side in ("a", "b"):
            if getattr(pair, side) not in names:
                raise RequestError(
                    f"pairs[{place}].{side}: expected the name of a recording, found {brief(getattr(pair, side))}"
                )


def with_offset(manifest: Manifest, name: str, offset: float) -> Manifest:
    """Manifest with one recording's offset set by hand, so that it counts as answered. Raises RequestError."""
    recording = manifest.recording(name)
    if name == manifest.reference:
        raise RequestError(f"{brief(name)} is the reference, whose offset is 0; set the offsets of the others")
    if not math.isfinite(offset) or abs(offset) > MAX_SECONDS:
        raise RequestError(
            f"offset of {brief(name)}: expected seconds from {-MAX_SECONDS:g} to {MAX_SECONDS:g}, found {offset}"
        )
    by_hand = replace(recording, offset=offset, answered=True, confidence=1.0, rating=RATINGS[0], reason="set by hand")
    return replace(manifest, recordings=tuple(by_hand if r is recording else r for r in manifest.recordings))
