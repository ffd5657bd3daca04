"""Advice on sound that can be learned from, but that Label Studio's editor cannot show."""

import shlex
from pathlib import Path, PurePath

from framewise.media.video import open_container

# Played and decoded by headless Chromium 156 (Debian's) in files that PyAV 18 wrote, by FFmpeg's names; Vorbis by its
# documentation. Not played: AVI, MPEG-TS; ALAC, ADPCM, MP2, PCM of 64 bits.
OPENED = {"wav", "mp3", "flac", "ogg", "aac", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
PLAYED = {
    "aac", "flac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis",
    "pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_alaw", "pcm_mulaw", "pcm_s16be", "pcm_s24be",
}  # fmt: skip


def heard_advice(path: Path, name: str) -> list[str]:
    """Advice on a file whose sound could be decoded, before it is annotated; nothing of one that browsers play.

    name: of the file, for the text.
    """
    with open_container(path, "sound") as container:
        codec, kind = container.streams.audio[0].codec_context.name, container.format.name
        seconds = container.duration
    cure = f"ffmpeg -i {shlex.quote(name)} -vn {shlex.quote(PurePath(name).stem + '-flac.flac')}"
    what = [f"the codec {codec}"] * (codec not in PLAYED) + [f"the container {kind}"] * (kind not in OPENED)
    if what:
        return [
            f"{name}: browsers do not play sound in {' nor '.join(what)}: Label Studio shows an error in place of its "
            f"waveform, so nobody can annotate it or see predictions. Convert it before you annotate: {cure}"
        ]
    if not seconds:
        # Chromium's duration is then Infinity, and the page of Label Studio 1.23.2 empty.
        return [
            f"{name}: its header does not say how long it is, as in recordings that were written while they were made: Label "
            "Studio's editor ends in an error and shows nothing, so nobody can annotate it or see predictions. Have the length "
            f"written before you annotate: {cure}"
        ]
    return []
