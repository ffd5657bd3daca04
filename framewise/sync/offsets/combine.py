"""Offset of two recordings by each method: an answer of sufficient confidence, or the reason why there is none."""

from dataclasses import dataclass, replace

from framewise.sync.offsets.confidence import audio_confidence, audio_features, together, visual_confidence, visual_features
from framewise.sync.offsets.correlate import MIN_SECONDS, Agreement, correlate
from framewise.sync.offsets.material import Material
from framewise.sync.offsets.network import ClockSolution
from framewise.sync.offsets.phat import AudioMatch, match_audio

AUDIO_TOLERANCE = 0.005
FRAMES_TOLERANCE = 1.5
AGREE_SECONDS = 0.1
STEADY_DECIBELS = 1.0  # sound whose loudness varies less than this is noise or a hum
# An offset is never guessed among rivals, even if one of them must be right.
_TOLD_RIVALS = 4


@dataclass(frozen=True)
class Answer:
    """Answer of one method. offset: of b relative to a in seconds, or None. reason: why there is none, or what lowers the
    confidence.

    best: the best-fitting offset, however uncertain. features: inputs of the confidence.
    """

    offset: float | None
    drift: float | None
    confidence: float
    reason: str
    tolerance: float
    best: float | None = None
    features: tuple[float, ...] = ()

    def text(self) -> str:
        """Describe the answer for the log."""
        if self.offset is None:
            return f"no answer ({self.reason})"
        return f"{self.offset:+.4f} s, confidence {self.confidence:.2f}" + (f" ({self.reason})" if self.reason else "")


def _none(reason: str, confidence: float = 0.0) -> Answer:
    return Answer(None, None, confidence, reason, 0.0)


def by_sound(one: Material, two: Material, reach: float, minimum: float) -> Answer:
    """Compare the sound of two recordings within +-reach seconds."""
    for material in (one, two):
        if material.no_sound or material.sound is None:
            return _none(f"{material.name}: {material.no_sound}")
    assert one.sound is not None
    assert two.sound is not None
    inside, outside = match_audio(one.sound, two.sound, reach)
    answer = _of_sound(one, two, inside, outside, reach, minimum)
    return replace(answer, best=inside.offset, features=audio_features(inside)) if inside else answer


def _of_sound(
    one: Material, two: Material, inside: AudioMatch | None, outside: AudioMatch | None, reach: float, minimum: float
) -> Answer:
    sure = audio_confidence(inside) if inside else 0.0
    if inside and sure >= minimum:
        if inside.rivals:
            return _tie("the sound repeats itself", inside.offset, inside.rivals, minimum)
        drift = inside.drift if inside.drift_error < 20e-6 else None
        return Answer(inside.offset, drift, sure, _weakness(inside, sure), AUDIO_TOLERANCE)
    if outside and not outside.rivals and audio_confidence(outside) >= max(minimum, 0.5):
        return _none(_beyond("sound", outside.offset, reach))
    for material, sound in ((one, one.sound), (two, two.sound)):
        if sound and sound.steadiness < STEADY_DECIBELS:
            return _none(f"the sound of {material.name} is steady noise, with nothing to recognise in another recording", sure)
    if inside is None:
        return _none(f"their sounds are too short to overlap enough within +-{reach:g} s")
    if inside.rivals and inside.score > 12:  # uniform and the same everywhere: a hum, a machine
        return _tie("the sound repeats itself", inside.offset, inside.rivals, minimum, sure)
    return _none(f"no common sound was found within +-{reach:g} s; are they of the same scene?", sure)


def _weakness(heard: AudioMatch, sure: float) -> str:
    if sure >= 0.8:
        return ""
    if heard.overlap_seconds < 10:
        return f"they overlap by only {heard.overlap_seconds:.1f} s"
    return "much noise or echo in the sound" if heard.agreement >= 0.8 else "parts of the sound do not agree"


def _tie(what: str, offset: float, rivals: tuple[float, ...], minimum: float, sure: float = 1.0) -> Answer:
    lags = sorted((offset, *rivals), key=abs)[: _TOLD_RIVALS + 1]
    told = ", ".join(f"{lag:+.3f} s" for lag in lags) + (", ..." if len(rivals) > _TOLD_RIVALS else "")
    return _none(f"{what}: {told} fit equally well", min(sure, 0.9 * minimum))


def _beyond(what: str, offset: float, reach: float) -> str:
    return (
        f"their {what} fits at {offset:+.2f} s, which is outside the searched range of {reach:g} s; "
        f"use --max-offset {abs(offset) + 1:.0f} or more"
    )


def by_picture(one: Material, two: Material, reach: float, minimum: float) -> Answer:
    """Compare the movement in the pictures of two recordings within +-reach seconds."""
    for material in (one, two):
        if material.no_picture or material.movement is None:
            return _none(f"{material.name}: {material.no_picture}")
    assert one.movement is not None
    assert two.movement is not None
    found = correlate(one.movement.signal, two.movement.signal, reach)
    if isinstance(found, str):
        return _none(f"their pictures cannot be compared: {found}")
    answer = _of_pictures(one, two, found, reach, minimum)
    return replace(answer, best=found.offset, features=visual_features(found))


def _of_pictures(one: Material, two: Material, found: Agreement, reach: float, minimum: float) -> Answer:
    sure = visual_confidence(found)
    if sure >= minimum and found.rivals:
        return _tie("the movement repeats itself", found.offset, found.rivals, minimum)
    if sure >= minimum:
        rates = [float(m.frame_rate) for m in (one, two) if m.frame_rate]
        reason = "" if sure >= 0.8 else "little common movement"
        return Answer(found.offset, found.drift, sure, reason, FRAMES_TOLERANCE / min([*rates, 30.0]))
    whole = max(one.duration, two.duration)
    if whole > reach and one.movement and two.movement:
        far = correlate(one.movement.signal, two.movement.signal, whole)
        if (
            not isinstance(far, str)
            and abs(far.offset) > reach
            and visual_confidence(far) >= max(minimum, 0.5)
            and not far.rivals
        ):
            return _none(_beyond("movement", far.offset, reach))
    if found.overlap_seconds < 2 * MIN_SECONDS:
        return _none(f"no common movement was found in an overlap of {found.overlap_seconds:.1f} s", sure)
    return _none(f"no common movement was found within +-{reach:g} s; do the cameras show the same scene?", sure)


def merged(sound: Answer, sight: Answer, minimum: float) -> Answer:
    """Combine the answers of both methods: sound is more precise; a contradiction lowers the confidence in both."""
    if sound.offset is None and sight.offset is None:
        return _none(f"{sound.reason}; {sight.reason}", max(sound.confidence, sight.confidence))
    if sight.offset is None:
        return sound
    if sound.offset is None:
        return replace(sight, reason="; ".join(filter(None, (f"by picture alone: {sound.reason}", sight.reason))))
    difference = abs(sound.offset - sight.offset)
    if difference <= AGREE_SECONDS:
        return replace(sound, confidence=together(sound.confidence, sight.confidence, True), reason="")
    sure = together(sound.confidence, sight.confidence, False)
    reason = f"sound says {sound.offset:+.3f} s and pictures {sight.offset:+.3f} s"
    better = sound if sound.confidence >= sight.confidence else sight
    return replace(better, confidence=sure, reason=reason) if sure >= minimum else _none(reason, sure)


def answer_for(
    place: int,
    materials: list[Material],
    answers: dict[tuple[int, int], dict[str, Answer]],
    solution: ClockSolution,
    method: str,
) -> tuple[float | None, float | None, float, str]:
    """(offset, drift in ppm, confidence, reason) of one recording, from the solution for all recordings."""
    if place == 0:
        reason = _contradiction(0, materials, solution) if 0 in solution.outsiders else ""
        return 0.0, 0.0, 1.0, reason
    if place in solution.outsiders:
        return None, None, 0.0, _contradiction(place, materials, solution)
    direct = answers[0, place][method]
    if place not in solution.offsets:
        if 0 in solution.outsiders:
            return None, None, 0.0, _contradiction(0, materials, solution)
        return None, None, direct.confidence, direct.reason
    confidence, reason = solution.confidences[place], direct.reason if direct.offset is not None else ""
    if direct.offset is None:
        reason = f"found through other recordings; with the reference: {direct.reason}"
    for link in solution.wrong:
        if place in (link.a, link.b):
            other = materials[link.b if place == link.a else link.a].name
            confidence, reason = 0.7 * confidence, f"the result with {other} contradicts all other recordings"
    told = any(
        answer.drift is not None for pair, by_method in answers.items() if place in pair and (answer := by_method[method])
    )
    drift = solution.drifts[place] * 1e6 if told else None
    return solution.offsets[place], drift, confidence, reason


def _contradiction(place: int, materials: list[Material], solution: ClockSolution) -> str:
    return (
        f"{materials[place].name} does not belong to the others: its results contradict each other by "
        f"{solution.outsiders[place]:.3f} s around a loop of three recordings"
    )
