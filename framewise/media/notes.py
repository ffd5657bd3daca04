"""Notes on files for annotators: one note for all files that it concerns, with the consequence and the cure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Note:
    """A note on a file.

    found: the finding, worded to follow the file's name or "12 files". means: the consequence. cure: the remedy in words. These
    three are the same for all files that it concerns. detail: of this file. command: shell command for it.
    """

    found: str
    means: str = ""
    cure: str = ""
    detail: str = ""
    command: str = ""

    def about(self, name: str) -> str:
        """The note on one file as one text."""
        finding = f"{name}: {self.found}{f' ({self.detail})' if self.detail else ''}"
        said = ". ".join(part for part in (finding, self.means, self.cure) if part)
        return f"{said}: {self.command}" if self.command else said


@dataclass(frozen=True)
class NotedFile:
    """A file that a note concerns. task: its task's id."""

    task: int
    name: str
    detail: str
    command: str


@dataclass
class SharedNote:
    """A note with all files that it concerns; without files, a note on settings. topic: identifies its text."""

    found: str
    means: str = ""
    cure: str = ""
    files: list[NotedFile] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return topic_of(self.found, self.means, self.cure)

    @property
    def title(self) -> str:
        """Heading for all files."""
        if not self.files:
            return self.found
        return f"{self.files[0].name if len(self.files) == 1 else f'{len(self.files)} files'}: {self.found}"

    @property
    def text(self) -> str:
        """All of it in one text, with the line for the first file."""
        said = ". ".join(part for part in (self.title, self.means, self.cure) if part)
        command = next((file.command for file in self.files if file.command), "")
        return f"{said}: {command}" if command else said


def topic_of(*texts: str) -> str:
    """Short hash that identifies texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def shared(notes: Iterable[tuple[int, str, Note]]) -> list[SharedNote]:
    """Merge (task, name of the file, note) with equal notes; the note on most files comes first."""
    found: dict[tuple[str, str, str], SharedNote] = {}
    for task, name, note in notes:
        same = found.setdefault((note.found, note.means, note.cure), SharedNote(note.found, note.means, note.cure))
        same.files.append(NotedFile(task, name, note.detail, note.command))
    return sorted(found.values(), key=lambda one: -len(one.files))
