"""Error classes. Every message names the thing, what was expected, what was found, and the cure.

Only the server chooses HTTP status codes.
"""

import errno
import reprlib
from typing import Any

MAX_MESSAGE_CHARS = 2000


class FramewiseError(Exception):
    """Base class of errors caused by input or environment rather than by a defect of framewise.

    temporary: True if the same request may succeed later, unchanged.
    """

    temporary = False

    def __init__(self, message: str = ""):
        # Messages quote input and are stored, logged and sent, so their length is limited.
        super().__init__(message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 4] + " ...")


def brief(value: Any) -> str:
    """Short text of a value for messages, however large or deep it is."""
    return _BRIEF.repr(value)


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict, _BRIEF.maxstring, _BRIEF.maxother = 3, 12, 12, 200, 200


class StorageBusy(FramewiseError):
    """Another process has locked the database for too long."""

    temporary = True


def is_disk_full(error: BaseException) -> bool:
    """True if an error means that a disk or a quota is full."""
    return isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))


def is_temporary(error: BaseException) -> bool:
    """True if the same may succeed later, as with a full disk or an unreachable server."""
    return is_disk_full(error) or (isinstance(error, FramewiseError) and error.temporary)


class SettingsError(FramewiseError):
    """An environment variable or flag with an unusable value."""


class ConfigError(FramewiseError):
    """A labeling config that cannot work with this backend."""


class RequestError(FramewiseError):
    """A request, or a file, that does not have the expected form."""


class NotKnown(RequestError):
    """A project or version that does not exist."""


class RegionError(FramewiseError):
    """A region that does not describe an interval on a timeline."""


class UnknownLabel(RegionError):
    """A region with a label that the labeling config does not have."""


class RangeOutsideVideo(RegionError):
    """A region with frames that the video does not have."""


class NothingMarked(FramewiseError):
    """An annotation without information about any label of the labeling config."""


class MediaError(FramewiseError):
    """A media file that cannot be found, fetched or decoded."""


class MediaForbidden(MediaError):
    """A media address that this backend is not allowed to read."""


class MediaUnavailable(MediaError):
    """A media file whose server is unreachable or busy at the moment."""

    temporary = True


class StorageFull(FramewiseError):
    """No room on a disk."""

    temporary = True


class StorageDamaged(FramewiseError):
    """An unreadable database, which has to be restored from a backup."""


class BackboneError(FramewiseError):
    """A backbone that cannot be found, fetched or used."""


class ModelError(FramewiseError):
    """A trained model that cannot be read or does not fit."""


class VersionGone(ModelError):
    """A trained version that was removed while it was being read; another one is in use."""

    temporary = True


class ProjectForgotten(FramewiseError):
    """A project that was forgotten while work for it was running."""


class LabelStudioError(FramewiseError):
    """A request that Label Studio refused, or a missing connection to it."""


class LabelStudioUnavailable(LabelStudioError):
    """Label Studio is unreachable at the moment."""

    temporary = True
