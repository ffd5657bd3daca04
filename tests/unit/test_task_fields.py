"""Attributes that take values from a task's data, as the editor's own parser takes them."""

import pytest

from framewise.core.task_fields import attribute_value, has_field

DATA = {
    "video": "/a.mp4", "number": 7, "half": 0.5, "whole": 25.0, "yes": True, "none": None, "empty": "",
    "media": {"video": "/b.mp4", "list": ["/c.mp4", {"url": "/d.mp4"}], "rate": 29.97},
    "videos": ["/e.mp4", "/f.mp4"], "a.b": "/with a dot", "a": {"b": "/below"}, "my-video": "/with a hyphen",
}  # fmt: skip


# The values are those of parseValue in Label Studio 1.23.2's bundle, run in node; None stands for "" or "undefined" in a text.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$video", "/a.mp4"),
        ("$number", 7),
        ("$media", DATA["media"]),
        ("$media.video", "/b.mp4"),
        ("$media[video]", "/b.mp4"),
        ("$media.list[0]", "/c.mp4"),
        ("$media.list.0", "/c.mp4"),
        ("$media.list[1].url", "/d.mp4"),
        ("$media.rate", 29.97),
        ("$videos[0]", "/e.mp4"),
        ("$videos[1]", "/f.mp4"),
        ("$a.b", "/with a dot"),
        ("$videos[2]", None),
        ("$videos[-1]", None),
        ("$media.audio", None),
        ("$video.name", None),
        ("$missing", None),
        ("$.video", None),
        ("$none", None),
        ("https://x/$video", "https://x//a.mp4"),
        ("/data/$media.video?n=$number", "/data//b.mp4?n=7"),
        ("$video$number", "/a.mp47"),
        ("$half $whole $yes", "0.5 25 true"),
        ("x$empty", "x"),
        ("x$missing", None),
        ("x$none", None),
        ("x$media", None),
        ("a.mp4", "a.mp4"),
        ("$", "$"),
        # The editor shows nothing of such a field, but it can be learned from.
        ("$my-video", "/with a hyphen"),
    ],
)
def test_values_of_attributes(text, value):
    assert attribute_value(text, DATA) == value


def test_fields_are_found():
    assert has_field("$video")
    assert has_field("https://x/$video")
    assert not any(map(has_field, ("", "$", "a.mp4", "25", "$ video")))
