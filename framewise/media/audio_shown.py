"""Notes on sound that can be learned from but that Label Studio's editor cannot show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av

from framewise.media.cures import to_flac
from framewise.media.notes import Note
from framewise.media.video import open_container

# Played and decoded by headless Chromium 156 (Debian's) in files that PyAV 18 wrote, by FFmpeg's names; Vorbis by its
# documentation. Not played: AVI, MPEG-TS; ALAC, ADPCM, MP2, PCM of 64 bits.
OPENED = {"wav", "mp3", "flac", "ogg", "aac", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
PLAYED = {
    "aac", "flac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis",
    "pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_alaw", "pcm_mulaw", "pcm_s16be", "pcm_s24be",
}  # fmt: skip


def sound_facts(path: Path) -> dict[str, Any]:
    """Facts of a file whose sound could be decoded, as JSON. seconds: 0 if the header has no duration."""
    with open_container(path, "sound") as container:
        codec, kind = container.streams.audio[0].codec_context.name, container.format.name
        return {"codec": codec, "container": kind, "seconds": (container.duration or 0) / av.time_base}


def sound_notes(name: str, facts: Mapping[str, Any]) -> list[Note]:
    """Notes on a file that browsers do not play. name: of the file, for the ffmpeg command."""
    command = to_flac(name)
    what = [f"the codec {facts['codec']}"] * (facts["codec"] not in PLAYED)
    what += [f"the container {facts['container']}"] * (facts["container"] not in OPENED)
    if what:
        return [
            Note(
                f"browsers do not play sound in {' nor '.join(what)}",
                "Label Studio shows an error in place of its waveform, so nobody can annotate it or see predictions",
                "Convert it before you annotate", command=command,
            )
        ]  # fmt: skip
    if not facts["seconds"]:
        # Chromium's duration is then Infinity, and the page of Label Studio 1.23.2 empty.
        return [
            Note(
                "the header does not say how long it is, as in recordings that were written while they were made",
                "Label Studio's editor ends in an error and shows nothing, so nobody can annotate it or see predictions",
                "Have the length written before you annotate", command=command,
            )
        ]  # fmt: skip
    return []
