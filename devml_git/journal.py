"""What the running operation changes, gathered until it ends and is written to the log.

The door to git's index and to the small files that git tracks: pointers, `.gitignore`, rules.
Whoever changes one does it here, so that what it was is known. What lies at artifacts' places is
told by whoever replaces it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from devml_git import operations
from devml_git.operations import Change, Operation
from devml_git.place import read_text, remove, write_text_safely
from devml_git.plumbing import is_pointer_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devml_git.nouns import Pointer
    from devml_git.plumbing import Git, IndexEntry

T = TypeVar("T")


class Journal:
    """The changes of one operation. `undoes`, `final`, `broken` are Operation's, set on the way."""

    def __init__(self, git: Git) -> None:
        self.git = git
        self.undoes: str | None = None
        self.final: str | None = None
        self.broken = False
        self._indexed: Mapping[str, IndexEntry] | None = None
        self._texts: dict[str, bytes | None] = {}
        self._entries: dict[str, str | None] = {}
        self._was: dict[str, Pointer | None] = {}
        self._is: dict[str, Pointer | None] = {}

    # -- small files -------------------------------------------------------------------------

    def watch(self, *files: str) -> None:
        """Remember what files hold that are about to change."""
        for file in files:
            if file not in self._texts:
                self._texts[file] = read_text(self.git.top, file)

    def write(self, file: str, data: bytes, *, create: bool = False) -> None:
        """Replace a small file; errors as in `place.write_text_safely`."""
        self.watch(file)
        write_text_safely(self.git.top, file, data, create=create)

    def remove(self, file: str) -> None:
        """Remove a small file, if it is there."""
        self.watch(file)
        remove(self.git.top, file)

    # -- git's index -------------------------------------------------------------------------

    def saw_index(self, pointers: Mapping[str, IndexEntry]) -> None:
        """Take what the index has of all pointer files; only the first word of it counts."""
        if self._indexed is None:
            self._indexed = dict(pointers)

    def stage(self, files: Sequence[str]) -> None:
        """Put files of the worktree into the index; one that is gone is removed there."""
        self._watch_entries(files)
        self.git.stage(files)

    def unstage(self, files: Sequence[str]) -> None:
        """Take files out of the index; they stay where they lie."""
        self._watch_entries(files)
        self.git.unstage(files)

    def set_entries(self, entries: Mapping[str, str | None]) -> list[str]:
        """Make index entries ("MODE BLOB", None: no entry) what they were.

        Returns those whose blob git has no more: they are still to be staged.
        """
        self._watch_entries(entries)
        return self.git.set_entries(entries)

    def _watch_entries(self, files: Iterable[str]) -> None:
        fresh = [f for f in files if f not in self._entries]
        known = self._indexed or {}
        ask = [f for f in fresh if self._indexed is None or not is_pointer_file(f)]
        known = {**known, **self.git.entries_of(ask)}
        for file in fresh:
            entry = known.get(file)
            self._entries[file] = f"{entry.mode} {entry.blob}" if entry else None

    # -- what lies at artifacts' places ------------------------------------------------------

    def was(self, path: str, content: Pointer | None) -> None:
        """Remember what lies at a place that is about to change; the first word counts."""
        self._was.setdefault(path, content)

    def lies(self, path: str, content: Pointer | None) -> None:
        """Say what lies there now; the last word counts."""
        self._is[path] = content

    def unfinished(self) -> list[str]:
        """Return the places that were about to change when the operation broke off."""
        return [path for path in self._was if path not in self._is]

    def resume(self, operation: Operation) -> None:
        """Go on with an operation that broke off: what was before it is what was before this."""
        for path, content in operation.contents.items():
            self.was(path, content.before)
            self.lies(path, content.after)
        self._texts = {f: text.before for f, text in operation.texts.items()} | self._texts
        self._entries = {f: e.before for f, e in operation.entries.items()} | self._entries

    # -- the end -----------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Whether nothing can have changed."""
        return not (self._texts or self._entries or self._was)

    def operation(
        self, what: str, origin: tuple[str | None, str | None], released: Iterable[str]
    ) -> Operation | None:
        """Return what has changed, or None.

        `what`, `origin` (commit and branch) and `released` are Operation's.
        """
        contents = _changed(self._was, self._is)
        texts = _changed(self._texts, {f: read_text(self.git.top, f) for f in self._texts})
        now = self.git.entries_of(self._entries)
        entries = _changed(self._entries, {f: f"{e.mode} {e.blob}" for f, e in now.items()})
        if not (contents or texts or entries):
            return None
        number, time = operations.new_id()
        return Operation(
            number, time, what, *origin, str(self.git.top), contents, texts, entries,
            tuple(sorted(released)), self.undoes, self.final, self.broken,
        )  # fmt: skip


def _changed(before: Mapping[str, T | None], after: Mapping[str, T | None]) -> dict[str, Change[T]]:
    return {
        path: Change(was, after.get(path)) for path, was in before.items() if was != after.get(path)
    }
