"""Notes on the files of a project's tasks, for its current labeling config and annotations."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from framewise.controls import Learner
from framewise.core.errors import RequestError
from framewise.media.group_notes import Played, group_notes
from framewise.media.notes import Note
from framewise.store.media_facts import FileFacts

TaskNote = tuple[int, str, Note]  # task, name of the file, note


class FileNotes:
    """Makes notes. annotated: number of the project's annotated tasks."""

    def __init__(self, learners: Iterable[Learner], annotated: int):
        # Medium -> the control that reads it, and the profile of the files that its model learned from.
        self._readers = {
            medium: (reader, learner.profiles.get(medium)) for learner in learners for medium, reader in learner.readers.items()
        }
        self._annotated = annotated

    def on_all(self, files: Iterable[FileFacts]) -> list[TaskNote]:
        """Notes on files of a project, in order of their tasks; of media that the labeling config still has."""
        found: list[TaskNote] = []
        for _, of_task in groupby((f for f in files if f.medium in self._readers), key=lambda file: file.task):
            known = list(of_task)
            for number, file in enumerate(known):
                found += [(file.task, file.name, note) for note in self.on(file, known[:number])]
        return found

    def on(self, file: FileFacts, others: Sequence[FileFacts]) -> list[Note]:
        """Notes on a file, and on it beside other files of its task."""
        reader, profile = self._readers[file.medium]
        own = reader.notes(file.name, file.facts, file.data, profile, self._annotated)
        played = self._played(file)
        if played is None:
            return own
        beside = [f for f in others if f.medium in self._readers and f.medium != file.medium]
        beside = [f for f in beside if self._readers[f.medium][0].settings.sync == reader.settings.sync]
        return own + group_notes(played, [other for f in beside if (other := self._played(f))])

    def _played(self, file: FileFacts) -> Played | None:
        """A file as a medium of its sync group, if it is in one."""
        settings = self._readers[file.medium][0].settings
        written: Mapping[str, object] | None = file.facts.get("played")
        if not settings.sync or written is None:
            return None
        try:
            return Played.from_json(file.medium, written, settings.frame_rate(file.data) if settings.is_on_video else None)
        except RequestError:
            return None  # said where the rate is used
