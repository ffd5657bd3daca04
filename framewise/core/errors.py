"""Errors of input, by kind. Every message names the thing, what was expected, what was found, the cure.

HTTP status codes are chosen in the server alone.
"""

import errno
import reprlib
from typing import Any

MAX_MESSAGE_CHARS = 2000


class FramewiseError(Exception):
    """Base of every error that is about input or surroundings, and not a defect of framewise.

    temporary: whether the same may work later, with nobody changing what was asked for.
    """

    temporary = False

    def __init__(self, message: str = ""):
        # Messages quote what was found, and are stored, logged and sent: a stranger must not make them as long as they like.
        super().__init__(message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 4] + " ...")


def brief(value: Any) -> str:
    """A value as it is shown in messages: short, however large or deep it is."""
    return _BRIEF.repr(value)


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict, _BRIEF.maxstring, _BRIEF.maxother = 3, 12, 12, 200, 200


class StorageBusy(FramewiseError):
    """Another process holds the database for longer than can be waited for."""

    temporary = True


def is_disk_full(error: BaseException) -> bool:
    """True if an error says that a disk, or a quota, is full."""
    return isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))


def is_temporary(error: BaseException) -> bool:
    """True if the same may work later: a disk that is full, a server that is not there."""
    return is_disk_full(error) or (isinstance(error, FramewiseError) and error.temporary)


class SettingsError(FramewiseError):
    """An environment variable or flag has a value that cannot work."""


class ConfigError(FramewiseError):
    """A labeling config that cannot work with this backend."""


class RequestError(FramewiseError):
    """A request whose body is not what the protocol says."""


class NotKnown(RequestError):
    """A project or a version that is not there."""


class RegionError(FramewiseError):
    """A region that does not describe an interval on a timeline."""


class UnknownLabel(RegionError):
    """A region with a label that the labeling config does not have."""


class RangeOutsideVideo(RegionError):
    """A region with frames that the video does not have."""


class NothingMarked(FramewiseError):
    """An annotation that, by the labeling config, says nothing of any label."""


class MediaError(FramewiseError):
    """A media file that cannot be found, fetched or decoded."""


class MediaForbidden(MediaError):
    """A media location that this backend is not allowed to read."""


class MediaUnavailable(MediaError):
    """A media file whose server cannot be reached now, or says that it is too busy."""

    temporary = True


class StorageFull(FramewiseError):
    """There is no room on a disk for what has to be written."""

    temporary = True


class StorageDamaged(FramewiseError):
    """The database cannot be read: it has to be restored from a back-up."""


class BackboneError(FramewiseError):
    """A backbone that cannot be found, fetched or used."""


class ModelError(FramewiseError):
    """A trained model that cannot be read or does not fit."""


class VersionGone(ModelError):
    """A trained version that was removed while it was read: by now another one is in use."""

    temporary = True


class ProjectForgotten(FramewiseError):
    """A project that was forgotten while something was done for it."""


class LabelStudioError(FramewiseError):
    """Label Studio refused a request, or cannot be asked at all."""


class LabelStudioUnavailable(LabelStudioError):
    """Label Studio cannot be reached now."""

    temporary = True
