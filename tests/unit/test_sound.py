"""Numbers of each step of sound, regions of sound, and files whose sound cannot be had."""

import json
import shlex

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.core.audio_regions import AudioRegion, audio_region_frames, read_audio_regions, write_audio_region
from framewise.core.errors import MediaError, RangeOutsideVideo, RegionError
from framewise.features.cache import FeatureCache
from framewise.features.sound import BANDS, SAMPLE_RATE, SoundFeatures, SoundReader, Spectrogram, mel_filters
from framewise.media.audio import decode_audio
from framewise.media.audio_shown import sound_facts, sound_notes
from framewise.media.library import MediaFile
from tests.audio_help import sound
from tests.videos import write_sound


def spectrogram(samples, parts=1):
    made = Spectrogram()
    rows = [rows for part in np.array_split(samples, parts) for rows in made.add(part)]
    return np.concatenate([*rows, *made.end()])


def tone(hertz, start, end, seconds=3.0):
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.where((times >= start) & (times < end), 0.5 * np.sin(2 * np.pi * hertz * times), 0).astype(np.float32)


def test_a_tone_is_in_its_band_and_its_steps():
    """1 kHz is 1000 mel, and 40 bands from 60 to 7600 Hz have middles 65.7 mel apart, from 158.4 on: the 13th after it."""
    rows = SoundFeatures(spectrogram(tone(1000, 1.0, 2.0)), 3.0).rows(25.0)
    read, motion = rows.read(np.arange(75))
    assert (len(rows), read.shape, motion) == (75, (75, 2 * BANDS), None)
    loud = read[:, :BANDS].max(axis=1) > 3
    assert np.flatnonzero(loud).tolist() == list(range(25, 50))
    assert read[30:45, :BANDS].argmax(axis=1).tolist() == [13] * 15


@pytest.mark.parametrize("parts", [2, 17, 300])
def test_rows_do_not_depend_on_the_parts_in_which_sound_comes(parts):
    samples = np.random.default_rng(0).normal(0, 0.1, 100_000).astype(np.float32)
    np.testing.assert_array_equal(spectrogram(samples, parts), spectrogram(samples))


def test_every_band_hears_something():
    assert mel_filters().sum(axis=0) == pytest.approx([1] * BANDS, abs=1e-5)


@pytest.mark.parametrize("rate", [1.0, 23.976, 25.0, 60.0, 240.0])
def test_steps_of_any_rate_are_read_in_any_order(rate):
    rows = SoundFeatures(spectrogram(tone(500, 0.5, 1.5)), 3.0).rows(rate)
    assert len(rows) == np.ceil(3 * rate)
    chosen = np.arange(0, len(rows), 3)
    np.testing.assert_allclose(rows.read(np.arange(len(rows)))[0][chosen], rows.read(chosen)[0], atol=1e-5)


def test_decoded_sound_is_what_was_written(tmp_path):
    written = sound(1, 3.0)
    decoded = np.concatenate(list(decode_audio(written.write(tmp_path / "a.wav"))))
    assert len(decoded) / SAMPLE_RATE == pytest.approx(3.0, abs=0.002)
    inside = slice(int(1.1 * SAMPLE_RATE), int(1.5 * SAMPLE_RATE))
    assert np.abs(decoded[inside]).max() == pytest.approx(
        np.abs(written.samples[int(1.1 * 22050) : int(1.5 * 22050)]).max(), rel=0.1
    )


def test_sound_is_read_once_for_all_that_know_its_content(tmp_path):
    path = write_sound(tmp_path / "a.mp4", 2.0)
    reader = SoundReader(FeatureCache(tmp_path / "cache"))
    assert reader.cached("c" * 64) is None
    first = reader.read(MediaFile(path, "c" * 64))
    path.unlink()
    again = SoundReader(FeatureCache(tmp_path / "cache")).cached("c" * 64)
    assert again.duration_seconds == first.duration_seconds == pytest.approx(2.0, abs=0.1)
    np.testing.assert_array_equal(again.rows(25.0).read(np.arange(40))[0], first.rows(25.0).read(np.arange(40))[0])


def test_sound_that_ends_before_its_header_says_is_refused(tmp_path):
    """FLAC's header holds the number of samples."""
    path, samples = tmp_path / "a.flac", (sound(2, 10.0).samples * 32767).astype(np.int16)
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=22_050, layout="mono", format="s16")
        for start in range(0, len(samples), 4096):
            frame = av.AudioFrame.from_ndarray(samples[np.newaxis, start : start + 4096], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 22_050, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert sum(map(len, decode_audio(path))) == 160_000
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(MediaError, match=r"a.flac: the header says 10.00 s of sound, but it ends at \d\.\d\d s"):
        list(decode_audio(path))


def noted(path, name):
    return [note.about(name) for note in sound_notes(name, json.loads(json.dumps(sound_facts(path))))]


@pytest.mark.parametrize(
    ("name", "codec", "said"),
    [
        ("a sound.wav", "pcm_s16le", None),
        ("a.m4a", "aac", None),
        ("a sound.m4a", "alac", "browsers do not play sound in the codec alac. Label Studio shows an error in place of its"),
        ("a.avi", "mp3", "browsers do not play sound in the container avi"),
    ],
)
def test_sound_that_browsers_do_not_play_is_advised_on(tmp_path, name, codec, said):
    path = tmp_path / name
    with av.open(str(path), "w", format="mp4" if name.endswith("m4a") else None) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", 48_000, stream.codec_context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "flt", "mono")
        frame.sample_rate = 48_000
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(part))
    advice = noted(path, name)
    if said is None:
        assert advice == []
        return
    assert advice[0].startswith(f"{name}: {said}")
    assert advice[0].endswith(f": ffmpeg -i {shlex.quote(name)} -vn {shlex.quote(path.stem + '-flac.flac')}")


def test_sound_whose_header_does_not_say_how_long_it_is_is_advised_on(tmp_path):
    path = tmp_path / "a.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert noted(path, "a.flac") == []
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of all samples, 36 bits, as where it was not known when the header was written
    content[22:26] = bytes(4)
    path.write_bytes(content)
    (advice,) = noted(path, "a.flac")
    assert "the header does not say how long it is" in advice
    assert advice.endswith("Have the length written before you annotate: ffmpeg -i a.flac -vn a-flac.flac")


def region(start, end, labels=("Knock",), **more):
    value = {"start": start, "end": end, "channel": 0, "labels": list(labels), **more}
    return {"id": "r", "type": "labels", "from_name": "sounds", "to_name": "audio", "value": value}


def test_a_region_becomes_the_frames_that_it_touches_worked_by_hand():
    """At 25 a second frame 8 is [0.28, 0.32) and frame 14 is [0.52, 0.56)."""
    (read,) = read_audio_regions([region(0.31, 0.55)], "sounds")
    assert audio_region_frames(read, 2.0, 25.0).ranges == ((8, 14),)
    assert audio_region_frames(AudioRegion(("a",), 0.0, 9.0), 2.0, 25.0).ranges == ((1, 50),)
    assert audio_region_frames(AudioRegion(("a",), 1.0, 1.0), 2.0, 25.0).ranges == ((26, 26),)


def test_regions_of_other_controls_are_left_alone():
    assert read_audio_regions([region(0, 1), {**region(0, 1), "from_name": "text"}, {"type": "labels"}, 7], "none") == []


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (region(2, 1), "starts at 2 s and ends before it, at 1 s"),
        (region("0", 1), "expected seconds in 'start', found '0'"),
        (region(0, None), "expected seconds in 'end', found None"),
        (region(0, float("nan")), "expected seconds in 'end', found nan"),
        (region(0, 1, labels=[3]), "expected a list of label names in 'labels'"),
        ({**region(0, 1), "value": 3}, "expected an object 'value'"),
    ],
)
def test_what_is_no_region_is_refused(item, message):
    with pytest.raises(RegionError, match=message):
        read_audio_regions([item], "sounds")


def test_a_region_of_another_file_is_refused():
    with pytest.raises(RangeOutsideVideo, match=r"7 to 8 s are outside sound of 2.00 s"):
        audio_region_frames(AudioRegion(("a",), 7, 8), 2.0, 25.0)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from([24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0, 120.0, 240.0]),
    st.integers(1, 200_000),
    st.integers(0, 5000),
)
def test_frames_to_seconds_and_back_is_the_identity(rate, start, length):
    duration = (start + length) / rate
    written = write_audio_region(["Knock"], (start, start + length), duration, rate, ("sounds", "audio"), 0.5)
    (read,) = read_audio_regions([written], "sounds")
    assert audio_region_frames(read, duration, rate).ranges == ((start, start + length),)
    assert written["original_length"] == duration
