"""Notes on files for the people who annotate them: one for all files that it concerns, with its consequence and its cure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Note:
    """A note on a file.

    found: what is so, to be read after the file's name or "12 files". means: the consequence. cure: in words. All three are the
    same for all files that it concerns. detail: of this file. command: what to type into a shell for it.
    """

    found: str
    means: str = ""
    cure: str = ""
    detail: str = ""
    command: str = ""

    def about(self, name: str) -> str:
        """The note on one file, in one text."""
        finding = f"{name}: {self.found}{f' ({self.detail})' if self.detail else ''}"
        said = ". ".join(part for part in (finding, self.means, self.cure) if part)
        return f"{said}: {self.command}" if self.command else said


@dataclass(frozen=True)
class NotedFile:
    """A file that a note concerns. task: that shows it."""

    task: int
    name: str
    detail: str
    command: str


@dataclass
class SharedNote:
    """A note with all files that it concerns, none if it is not on files. topic: the same as long as it says the same."""

    found: str
    means: str = ""
    cure: str = ""
    files: list[NotedFile] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return topic_of(self.found, self.means, self.cure)

    @property
    def title(self) -> str:
        """One line for all files."""
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
    """Short name of what texts say."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def shared(notes: Iterable[tuple[int, str, Note]]) -> list[SharedNote]:
    """(task, name of the file, note), each note once; that of most files first."""
    found: dict[tuple[str, str, str], SharedNote] = {}
    for task, name, note in notes:
        same = found.setdefault((note.found, note.means, note.cure), SharedNote(note.found, note.means, note.cure))
        same.files.append(NotedFile(task, name, note.detail, note.command))
    return sorted(found.values(), key=lambda one: -len(one.files))
