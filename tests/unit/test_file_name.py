"""The name by which a person knows the file of a task."""

import pytest

from framewise.media.addresses import file_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/upload/3/ab12-My%20clip.mp4", "ab12-My clip.mp4"),
        ("/studio/data/upload/3/clip.mp4", "clip.mp4"),
        ("/data/local-files/?d=videos/a%20b.mp4", "a b.mp4"),
        ("http://studio:8080/data/local-files?d=a.mp4&x=1", "a.mp4"),
        ("s3://bucket/folder/clip.mp4", "clip.mp4"),
        ("http://media.example/clip.mp4?signature=s3cret", "clip.mp4"),
        ("http://media.example/", "video"),
        ("/srv/videos/take #2 100%25?.mp4", "take #2 100%25?.mp4"),
        ("/srv/a\nb.mp4", "a?b.mp4"),
    ],
)
def test_the_name_in_an_address(source: str, name: str) -> None:
    assert file_name(source) == name
