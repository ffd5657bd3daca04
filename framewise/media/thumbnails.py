"""Small JPEG pictures of a video file: one at a time, and a strip of some along its length."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from framewise.core.errors import MediaError
from framewise.media.video import Picture, decode, probe

STRIP_PICTURES = 8
STRIP_HEIGHT = 54
QUALITY = 80
MAX_LOOKED_AT = 2000  # pictures between a key frame and the one that is wanted: far apart in some files


def picture_jpeg(path: Path, seconds: float, height: int) -> bytes:
    """The picture on screen at a time of a video, as a JPEG of this height. Raises MediaError."""
    return _jpeg(_small(_picture_at(path, seconds, exact=True), height))


def strip_jpeg(path: Path, duration_seconds: float) -> bytes:
    """STRIP_PICTURES pictures of equal width, side by side, each from the middle of its part of a video. Raises MediaError."""
    info = probe(path)
    parts = []
    for number in range(STRIP_PICTURES):
        middle = duration_seconds * (number + 0.5) / STRIP_PICTURES
        parts.append(_small(_picture_at(path, middle, exact=info.duration_seconds < 60), STRIP_HEIGHT))
    width = min(max(part.width for part in parts), 4 * STRIP_HEIGHT)
    strip = Image.new("RGB", (width * STRIP_PICTURES, STRIP_HEIGHT))
    for number, part in enumerate(parts):
        strip.paste(part, (number * width + (width - part.width) // 2, 0))
    return _jpeg(strip)


def _picture_at(path: Path, seconds: float, exact: bool) -> Picture:
    """The last picture that is not later than a time; not exact: a key frame before it will do, which is quicker."""
    info = probe(path)
    wanted = round(seconds / info.time_base)
    found: Picture | None = None
    pictures = decode(path, from_pts=wanted)
    try:
        for number, picture in enumerate(pictures):
            if found is not None and (picture.pts > wanted or number > MAX_LOOKED_AT):
                break
            found = picture
            if not exact:
                break
    except MediaError:  # the file ends before its header says: what was decoded is shown
        if found is None:
            raise
    finally:
        pictures.close()  # type: ignore[attr-defined]
    if found is None:
        raise MediaError(f"{path.name}: there is no picture at {seconds:.2f} s")
    return found


def _small(picture: Picture, height: int) -> Image.Image:
    whole = picture.frame
    wide = max(2, round(whole.width * height / whole.height))
    small = whole.reformat(width=wide, height=height, format="rgb24") if not picture.lies_on_its_side else whole
    pixels = picture.upright(np.ascontiguousarray(small.to_ndarray(format="rgb24")))
    image = Image.fromarray(pixels)
    return image if image.height == height else image.resize((max(2, round(image.width * height / image.height)), height))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
