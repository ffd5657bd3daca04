"""Player in a task's HTML in Label Studio 1.4.1 and earlier: address of its media, and the series that moved it.

The HTML is untrusted. It is read with html.parser; nothing of it is rendered, run or kept except one address, which must be of
an allowed form.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from framewise.migrate.findings import NeedsReview, shown

# The published one has 600. The time of html.parser grows with the square of some broken markup.
MAX_HTML_CHARS = 20_000
MAX_SOURCE_CHARS = 4_000
MEDIA_TAGS = ("video", "audio")
# Elements for layout only; they are dropped. Any other might have a function that would be lost unnoticed.
LAYOUT_TAGS = frozenset(("html", "head", "body", "div", "p", "span", "br", "hr", "center", "b", "i", "em", "strong", "h1", "h2",
                         "h3", "h4", "h5", "h6"))  # fmt: skip
SCHEMES = ("http", "https", "s3", "gs", "azure", "azure-blob")
LABEL_STUDIO_PATHS = ("/data/", "/static/")
AUDIO_SUFFIXES = frozenset((".mp3", ".wav", ".flac", ".m4a", ".aac", ".opus", ".oga"))

_HAS_MEDIA = re.compile(r"<\s*(video|audio)\b", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
# The script of Label Studio's guide "Time series and Video or Audio", without white space. Projects differ in the names of
# series, column and tag, and in numbers. It moves the media to duration * (r0 - t0) / (T - W): r0 is the left edge of the
# view, W its width, t0 the first sample, T the span. https://labelstud.io/guide/ts+video.html
_SCRIPT = re.compile(
    r"setTimeout\(function\(\)\{"
    r"ts=Htx\.annotationStore\.selected\.names\.get\((?P<q1>['\"])(?P<series>[^'\"\\]{1,100})(?P=q1)\);"
    r"t=ts\.data(?:\.(?P<property>[\w$]{1,100})|\[(?P<q2>['\"])(?P<key>[^'\"\\]{1,100})(?P=q2)\]);"
    r"v=document\.getElementsByTagName\((?P<q3>['\"])(?P<tag>video|audio)(?P=q3)\)\[0\];"
    rf"w=parseInt\(t\.length\*\({_NUMBER}/v\.duration\)\);"
    r"l=t\.length-w;"
    rf"ts\.updateTR\(\[t\[0\],t\[w\]\],{_NUMBER}\);"
    r"r=\$=>ts\.brushRange\.map\(n=>\(\+n\)\.toFixed\(\d\)\);"
    r"_=r\(\);"
    r"setInterval\(\$=>r\(\)\.some\(\(n,i\)=>n!==_\[i\]\)&&\(_=r\(\)\)&&"
    r"\(v\.currentTime=v\.duration\*\(r\(\)\[0\]-t\[0\]\)/\(t\.slice\(-1\)\[0\]-t\[0\]-\(r\(\)\[1\]-r\(\)\[0\]\)\)\),"
    rf"{_NUMBER}\);?"
    r"(?:console\.log\((?P<q4>['\"])[^'\"\\]*(?P=q4)\);?)?"
    rf"\}},{_NUMBER}\);?"
)


@dataclass(frozen=True)
class Player:
    """kind: "video" or "audio". source: address of the media. series: name of the TimeSeries. column: its time column."""

    kind: str
    source: str
    series: str
    column: str


def has_player(value: object) -> bool:
    """True if a field of a task's data holds HTML with a video or audio element."""
    return isinstance(value, str) and _HAS_MEDIA.search(value) is not None


def read_player(text: str) -> Player:
    """Read the player in HTML. Raises NeedsReview for anything other than the published trick."""
    if len(text) > MAX_HTML_CHARS:
        raise NeedsReview(f"its HTML has {len(text)} characters; at most {MAX_HTML_CHARS} are read")
    reader = _Reader()
    try:
        reader.feed(text)
        reader.close()
    except (AssertionError, ValueError, RecursionError):  # html.parser's own on broken declarations
        raise NeedsReview(f"its HTML is broken: {shown(text)}") from None
    if reader.unknown:
        raise NeedsReview(f"its HTML has more than a player: {shown(', '.join(reader.unknown[:5]))}")
    if len(reader.players) != 1:
        raise NeedsReview(f"expected one video or audio element in its HTML, found {len(reader.players)}")
    if len(reader.sources) != 1:
        raise NeedsReview(f"expected exactly one media src, found {len(reader.sources)}")
    source, tag = checked_source(reader.sources[0]), reader.players[0]
    series, column = _read_script(reader.scripts, tag)
    kind = "audio" if PurePosixPath(parts_of(source)[-1]).suffix.lower() in AUDIO_SUFFIXES else tag
    return Player(kind, source, series, column)


class _Reader(HTMLParser):
    """Collector of the relevant parts of HTML, and of the names of everything that is neither player nor layout."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.players: list[str] = []
        self.sources: list[str] = []
        self.scripts: list[str] = []
        self.unknown: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Handle a start tag or an empty element."""
        media = tag in MEDIA_TAGS
        if media:
            self.players.append(tag)
        elif tag != "source" and tag not in LAYOUT_TAGS:
            self.unknown.append(f"<{tag}>")
        for name, value in attrs:
            if media and name == "onloadeddata":
                self.scripts.append(value or "")
            elif name.startswith("on"):
                self.unknown.append(f"{name} of <{tag}>")
            elif name == "src" and (media or tag == "source"):
                self.sources.append(value or "")


def _read_script(scripts: Sequence[str], tag: str) -> tuple[str, str]:
    """(series, time column) in the published script. Raises NeedsReview for any other script."""
    if not scripts:
        raise NeedsReview("its player has no script, so the relation of its time and the series' is not known")
    # Browsers use only one of two equal attributes; it is not worth finding out which script ran.
    match = _SCRIPT.fullmatch("".join(scripts[0].split())) if len(scripts) == 1 else None
    if match is None:
        raise NeedsReview(
            f"its script is not the published one: {shown(scripts[0])}; check how it maps times, and convert the task by hand"
        )
    if match["tag"] != tag:
        raise NeedsReview(f"its script moves a <{match['tag']}>, but the player is a <{tag}>")
    return match["series"], match["property"] or match["key"]


def checked_source(source: str) -> str:
    """Check that a media address is of a form allowed in a modern project. Raises NeedsReview."""
    plain = source.strip()
    if not plain or len(plain) > MAX_SOURCE_CHARS:
        raise NeedsReview(f"its media src is {'empty' if not plain else f'longer than {MAX_SOURCE_CHARS} characters'}")
    # Browsers ignore tabs and newlines in addresses, and read a backslash as a slash: java<tab>script:
    if "\\" in plain or not plain.isprintable():
        raise NeedsReview(f"its media src has characters that are not allowed in an address: {shown(plain)}")
    scheme = _SCHEME.match(plain)
    try:
        allowed = _is_web_address(plain) if scheme else _is_path(plain)
    except ValueError:  # from urlsplit, for an invalid host
        allowed = False
    if not allowed:
        expected = f"{', '.join(f'{s}://' for s in SCHEMES)}, {', '.join(LABEL_STUDIO_PATHS)} or a relative path"
        raise NeedsReview(f"its media src {shown(plain)} is not allowed; expected {expected}")
    return plain


def _is_web_address(source: str) -> bool:
    read = urlsplit(source)
    return read.scheme.lower() in SCHEMES and bool(read.hostname)


def _is_path(source: str) -> bool:
    if source.startswith("/") and not source.startswith(LABEL_STUDIO_PATHS):
        return False
    # Refuse names that a browser would take for a scheme once decoded, or that lead out of the folder.
    return ".." not in parts_of(source) and ":" not in unquote(source).partition("/")[0] and bool(parts_of(source)[-1])


def parts_of(source: str) -> tuple[str, ...]:
    """Folders and file name of an address, decoded; for Label Studio's local files, below its document root.

    ("",) for an invalid address.
    """
    try:
        read = urlsplit(source)
    except ValueError:  # an invalid host
        return ("",)
    path = unquote(read.path)
    if path.rstrip("/").endswith("/data/local-files"):
        path = parse_qs(read.query).get("d", [""])[0]
    return tuple(part for part in path.split("/") if part and part != ".") or ("",)
