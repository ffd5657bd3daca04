"""<Labels> on <Audio> through the running service: from annotations to predictions in seconds."""

import itertools

import av
import pytest

from tests.audio_help import audio_config, audio_task, sound
from tests.integration.service import Project
from tests.videos import cut, write_sound

_numbers = itertools.count(95_001)


def test_sound_is_learned_and_the_next_one_predicted(service, videos):
    project, new = Project(audio_config()), sound(3)
    assert service.setup(project).status_code == 200
    learned = [sound(seed) for seed in (1, 2)]
    tasks = [audio_task(next(_numbers), s.write(videos / f"sound-{n}.wav")) for n, s in enumerate([*learned, new])]

    job = service.train(project, *((t, s.regions()) for t, s in zip(tasks[:2], learned, strict=True)))

    assert job["state"] == "done", job
    assert not job["warnings"]
    prediction = service.predict_until_there(project, tasks[2])
    assert prediction["model_version"] == service.version(project)
    regions = prediction["result"]
    assert {(r["from_name"], r["to_name"], r["type"]) for r in regions} == {("sounds", "audio", "labels")}
    assert [r["original_length"] for r in regions] == pytest.approx([20.0] * len(regions))
    assert {r["value"]["channel"] for r in regions} == {0}
    found = [(r["value"]["labels"][0], r["value"]["start"], r["value"]["end"]) for r in regions]
    assert (new.marked(found) == new.marked(new.truth)).mean() > 0.97


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("empty.wav", lambda path: path.write_bytes(b""), "not sound that can be read"),
        ("text.wav", lambda path: path.write_text("once upon a time\n" * 50), "not sound that can be read"),
        ("cut.mp4", lambda path: cut(write_sound(path, 4.0), 0.3), "not sound that can be read"),
        ("noise.mp3", lambda path: path.write_bytes(bytes(range(1, 200)) * 200), "not sound that can be read"),
    ],
)
def test_a_file_without_sound_is_named_with_its_reason(service, videos, name, make, message):
    project, number = Project(audio_config()), next(_numbers)
    make(videos / f"{number}-{name}")
    good, heard = sound(4, 8.0), next(_numbers)
    job = service.train(
        project,
        (audio_task(heard, good.write(videos / f"{heard}.wav")), good.regions()),
        (audio_task(number, videos / f"{number}-{name}"), []),
    )
    assert job["state"] == "done"
    told = "\n".join(job["warnings"])
    assert f"task {number} is left out of the training" in told
    assert message in told


def test_sound_that_browsers_do_not_play_is_told_of(service, videos):
    project, number, good = Project(audio_config()), next(_numbers), sound(6, 8.0)
    path = videos / f"{number}.m4a"
    with av.open(str(good.write(videos / f"{number}.wav"))) as read, av.open(str(path), "w", format="mp4") as write:
        stream = write.add_stream("alac", rate=22_050, layout="mono")
        resampler = av.AudioResampler("s16p", "mono", 22_050, stream.codec_context.frame_size)
        for frame in (*read.decode(audio=0), None):
            write.mux([packet for part in resampler.resample(frame) for packet in stream.encode(part)])
        write.mux(stream.encode(None))
    job = service.train(project, (audio_task(number, path), good.regions()))
    assert job["state"] == "done"
    shown = service.page(project)
    assert "browsers do not play sound in the codec alac" in shown
    assert path.name in shown


def test_a_video_without_sound_has_none_to_learn_from(service, videos, make_clip):
    project, good = Project(audio_config()), sound(5, 8.0)
    silent, heard = audio_task(next(_numbers), make_clip(24)), next(_numbers)
    job = service.train(project, (silent, []), (audio_task(heard, good.write(videos / f"{heard}.wav")), good.regions()))
    assert "expected sound, found video and no audio stream" in "\n".join(job["warnings"])


def test_what_sound_cannot_do_is_refused(service):
    answer = service.setup(Project(audio_config(model_trainable="false")))
    assert answer.status_code == 400
    assert "simple mode is of pictures, and an Audio has none" in answer.json()["error"]


def test_address_and_permission_are_checked_as_a_video_s(service):
    project = Project(audio_config())
    job = service.train(project, (audio_task(next(_numbers), "/etc/hostname"), []))
    assert "not below any folder of LOCAL_FILES_ROOTS" in str(job)
