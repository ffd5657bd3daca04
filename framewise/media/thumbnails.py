"""Small JPEG pictures of a video: single ones, and a strip along its length."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from framewise.core.errors import MediaError
from framewise.media.video import Picture, VideoInfo, decode, probe

STRIP_WIDTH, STRIP_HEIGHT = 1080, 54
FEWEST_PICTURES, MAX_PICTURES = 4, 24
SHORT_SECONDS = 60  # longest video that is decoded completely for its strip
QUALITY = 80
MAX_LOOKED_AT = 2000  # maximum number of pictures decoded between a key frame and the requested one


def picture_jpeg(path: Path, seconds: float, height: int) -> bytes:
    """Picture on screen at a time of a video, as a JPEG of this height. Raises MediaError."""
    return _jpeg(_small(_picture_at(path, seconds, exact=True), height))


def strip_jpeg(path: Path, duration_seconds: float) -> bytes:
    """Pictures of a video side by side, each from the middle of its part, in a JPEG of STRIP_WIDTH by STRIP_HEIGHT pixels.
    Raises MediaError."""
    info = probe(path)
    aspect = info.width / max(info.height, 1)
    count = min(max(round(STRIP_WIDTH / STRIP_HEIGHT / aspect), FEWEST_PICTURES), MAX_PICTURES)
    middles = [duration_seconds * (number + 0.5) / count for number in range(count)]
    strip = Image.new("RGB", (STRIP_WIDTH, STRIP_HEIGHT))
    for number, picture in enumerate(_pictures_at(path, info, middles)):
        left, right = (STRIP_WIDTH * n // count for n in (number, number + 1))
        strip.paste(ImageOps.fit(_small(picture, STRIP_HEIGHT), (right - left, STRIP_HEIGHT)), (left, 0))
    return _jpeg(strip)


def _pictures_at(path: Path, info: VideoInfo, seconds: Sequence[float]) -> Iterator[Picture]:
    """Pictures at ascending times: exact ones of a short video, by decoding it once; otherwise the key frames before them."""
    if info.duration_seconds > SHORT_SECONDS:
        yield from (_picture_at(path, moment, exact=False) for moment in seconds)
        return
    waiting = list(seconds)
    last: Picture | None = None
    for picture in decode(path):
        while last is not None and waiting and picture.pts * info.time_base > waiting[0]:
            waiting.pop(0)
            yield last
        last = picture
    if last is not None:
        yield from [last] * len(waiting)


def _picture_at(path: Path, seconds: float, exact: bool) -> Picture:
    """Last picture that is not later than a time; if not ``exact``, the key frame before it, which is faster."""
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
    except MediaError:  # the file ends before the end in its header: use what was decoded
        if found is None:
            raise
    finally:
        pictures.close()  # type: ignore[attr-defined]
    if found is None:
        raise MediaError(f"{path.name}: no picture at {seconds:.2f} s")
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
