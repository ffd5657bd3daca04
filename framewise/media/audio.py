"""Decoding of sound: the first audio stream of a file, as one channel at a fixed rate, in parts."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from framewise.core.errors import MediaError
from framewise.media.video import decoded_frames, open_container

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
MAX_SECONDS = 12 * 3600.0
# A file that ends long before the duration in its header is truncated. For MP3 and AAC without a header, FFmpeg estimates the
# duration from the bit rate, which is unreliable.
GUESSED = {"mp3", "aac"}
TRUNCATION_SECONDS, TRUNCATION_SHARE = 1.0, 0.02

Samples = npt.NDArray[np.float32]


def decode_audio(path: Path) -> Iterator[Samples]:
    """Yield samples (n,) in [-1, 1] at SAMPLE_RATE in parts; channels are averaged. Memory does not depend on the length.

    Gaps between samples are ignored, as by browsers that decode a file to draw its waveform.
    Raises MediaError for a file without sound, a damaged one, or one that ends long before the end in its header.
    """
    count, broken = 0, 0
    with open_container(path, "sound") as container:
        stream = _audio_stream(container, path)
        declared = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        codec, guessed = stream.codec_context.name, container.format.name in GUESSED
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        for frame in decoded_frames(container, stream):
            if frame is None:
                broken += 1
                continue
            for samples in _resampled(resampler, frame):
                count += len(samples)
                if count > MAX_SECONDS * SAMPLE_RATE:
                    raise MediaError(f"{path.name}: more than {MAX_SECONDS / 3600:.0f} hours of sound; cut it into parts")
                yield samples
        for samples in _resampled(resampler, None) if count else ():
            count += len(samples)
            yield samples
    seconds = count / SAMPLE_RATE
    if not count:
        raise MediaError(f"{path.name}: no sound could be decoded (codec {codec}); is the file damaged?")
    if broken:
        logger.warning("%s: %d damaged parts of its sound were skipped", path.name, broken)
    if not guessed and declared - seconds > max(TRUNCATION_SECONDS, TRUNCATION_SHARE * declared):
        raise MediaError(
            f"{path.name}: the header says {declared:.2f} s of sound, but it ends at {seconds:.2f} s; the file is truncated or "
            "damaged: upload it again"
        )


def _audio_stream(container: Any, path: Path) -> Any:
    for stream in container.streams.audio:
        if stream.codec_context is None:
            raise MediaError(f"{path.name}: its sound is in a codec that FFmpeg does not know; convert it to AAC or WAV")
        return stream
    kinds = {stream.type for stream in container.streams} or {"nothing"}
    raise MediaError(f"{path.name}: expected sound, found {', '.join(sorted(kinds))} and no audio stream")


def _resampled(resampler: Any, frame: Any) -> Iterator[Samples]:
    if frame is not None:
        frame.pts = None  # samples are counted, because times in headers are unreliable
    try:
        for part in resampler.resample(frame):
            samples: Samples = part.to_ndarray()[0]
            yield np.nan_to_num(samples, posinf=0.0, neginf=0.0).clip(-1, 1)
    except (av.FFmpegError, ValueError) as error:  # the stream changes its layout in the middle
        raise MediaError(f"the sound could not be converted: {error}") from None
