"""Media files, served in pieces to browsers."""

from pathlib import Path

from flask import Response, request, send_file
from werkzeug.wrappers import Response as AnyResponse

# A browser that has buffered enough stops reading, which would occupy a thread. So it gets pieces, and requests the next one
# itself.
PIECE_BYTES = 1 << 20


def media_response(path: Path, kind: str) -> AnyResponse:
    """A file, or a piece of at most PIECE_BYTES from the requested position. kind: its media type."""
    wanted = request.range
    if wanted is None or len(wanted.ranges) != 1 or wanted.units != "bytes":
        return send_file(path, mimetype=kind, conditional=True)
    size = path.stat().st_size
    span = wanted.range_for_length(size)
    if span is None:
        return Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    start, stop = span[0], min(span[1], span[0] + PIECE_BYTES)
    with path.open("rb") as file:
        file.seek(start)
        piece = file.read(stop - start)
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{size}", "Accept-Ranges": "bytes"}
    return Response(piece, status=206, mimetype=kind, headers=headers)
