"""The same pictures in other containers, with PyAV alone: no ffmpeg program is needed."""

from fractions import Fraction
from pathlib import Path

import av


def remux(source: Path, target: Path, *, start: Fraction = Fraction(0), rotation: int = 0, **options: str) -> Path:
    """Copy a file's packets into another container, that of target's suffix.

    start:    seconds that are cut off; packets are kept from the key frame before it, in an .mp4 an edit list hides the rest.
    rotation: degrees that a player has to turn the pictures, counter-clockwise.
    options:  FFmpeg's options of the container, as movflags="frag_keyframe+empty_moov".
    """
    with av.open(str(source)) as read, av.open(str(target), "w", options=options) as write:
        copies = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        if rotation:
            copies[read.streams.video[0].index].set_display_rotation(rotation)
        read.seek(int(start * av.time_base))  # to the key frame at or before it
        for packet in read.demux():
            if packet.dts is None:  # the empty packet at the end of a stream
                continue
            shift = int(start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copies[packet.stream.index]
            write.mux(packet)
    return target


def encode_again(source: Path, target: Path, codec: str) -> Path:
    """The same pictures at the same times in another codec, without the sound."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        original = read.streams.video[0]
        stream = write.add_stream(codec, rate=original.average_rate)
        stream.width, stream.height, stream.pix_fmt = original.width, original.height, "yuv420p"
        stream.bit_rate = 1_000_000
        for frame in read.decode(original):
            frame.pict_type = 0  # the encoder chooses its key frames anew
            write.mux(stream.encode(frame))
        write.mux(stream.encode(None))
    return target
