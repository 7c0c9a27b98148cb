"""Git's index, and what its rules say of files: read it, change it aside."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from devml_git.index import change, change_held
from devml_git.place import temporary_name
from devml_git.plumbing.exchange import Exchange
from devml_git.plumbing.names import POINTER_PATHSPECS, IndexEntry, anchored
from devml_git.plumbing.programs import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


class Staging(Exchange):
    """The index that git commits from, ignore rules and attributes."""

    def index_entries(
        self, *pathspecs: str, env: Mapping[str, str] | None = None
    ) -> list[IndexEntry]:
        """Return index entries, all merge stages, of the given pathspecs (none: all)."""
        entries = []
        for line in self.names("ls-files", "-s", "-z", "--", *pathspecs, env=env):
            meta, path = line.split("\t", 1)
            mode, blob, stage = meta.split(" ")
            entries.append(IndexEntry(mode, blob, int(stage), path))
        return entries

    def entries_of(self, paths: Iterable[str]) -> dict[str, IndexEntry]:
        """Return the index entries at merge stage 0 of these paths; one that has none is left out.

        Directories stand for themselves only.
        """
        wanted = list(paths)
        found = {}
        for start in range(0, len(wanted), 500):
            specs = [f":(literal){path}" for path in wanted[start : start + 500]]
            found.update({e.path: e for e in self.index_entries(*specs) if e.stage == 0})
        return {path: found[path] for path in wanted if path in found}

    def set_entries(self, entries: Mapping[str, str | None]) -> list[str]:
        """Make index entries "MODE BLOB" (None: no entry); return those that cannot be.

        Git forgets a blob that nothing names after two weeks.
        """
        here = self._existing(sorted({e.split(" ")[1] for e in entries.values() if e}))
        gone = [path for path, entry in entries.items() if entry is None]
        lost = [path for path, e in entries.items() if e and e.split(" ")[1] not in here]
        lines = [
            f"{entry}\t{self.prefix}{path}\0"  # here git takes names from the worktree's root
            for path, entry in entries.items()
            if entry is not None and path not in lost
        ]
        if lines:
            data = "".join(lines).encode("utf-8", "surrogateescape")
            self._edit_index("--add", "-z", "--index-info", stdin=data)
        self.unstage(gone)
        return lost

    def unmerged_pointers(self) -> dict[str, dict[int, str]]:
        """Return the unmerged pointer files: merge stage (1 base, 2 ours, 3 theirs) to blob id."""
        found: dict[str, dict[int, str]] = {}
        for entry in self.index_entries(*POINTER_PATHSPECS):
            if entry.stage:
                found.setdefault(entry.path, {})[entry.stage] = entry.blob
        return found

    def staged_blob_for(self, pathname: str) -> str | None:
        """Return the blob id of a path in the index, stage 0, or None."""
        entries = self.index_entries(f":(literal){pathname}")
        return next((e.blob for e in entries if e.stage == 0 and e.path == pathname), None)

    def staged_changes(self) -> list[IndexEntry]:
        """Return the entries the index adds or changes against HEAD (or the empty tree)."""
        against = self.head() or self.empty_tree()
        fields = self.names(
            "diff-index", "--cached", "--raw", "--no-renames", "-z", "--no-abbrev", "--relative",
            "--diff-filter=AMT", against, "--",
        )  # fmt: skip
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return [IndexEntry(m.split(" ")[1], m.split(" ")[3], 0, path) for m, path in pairs]

    def differing_from_index(
        self, files: Sequence[str], indexed: Mapping[str, IndexEntry]
    ) -> list[str]:
        """Return which pointer files are untracked or (perhaps) differ from the index."""
        if not files:
            return []
        dirty = set(
            self.names("diff-files", "--name-only", "-z", "--relative", "--", *POINTER_PATHSPECS)
        )
        return [f for f in files if f not in indexed or f in dirty]

    def file_differs_from_index(self, pathname: str) -> bool:
        """Whether a file of the worktree has changes that are not staged, or is untracked."""
        if self.staged_blob_for(pathname) is None:
            return (self.top / pathname).exists()
        # compares content where only times differ, and needs no lock of git's for that
        argv = ("diff", "--quiet", "--no-ext-diff", "--", f":(literal){pathname}")
        return bool(self.raw(*argv, ok=(0, 1))[0])

    def unlike_head(self, files: Sequence[str]) -> set[str]:
        """Return those that are not the same in HEAD, the index and the worktree."""
        if self.head() is None:
            return set(files)
        found = set(files)
        for start in range(0, len(files), 500):
            specs = [f":(literal){file}" for file in files[start : start + 500]]
            found -= set(self.names("ls-files", "-z", "--", *specs))
            argv = ("diff", "--name-only", "-z", "--no-ext-diff", "--no-renames", "--relative")
            for between in ((), ("--cached", "HEAD")):
                found.update(self.names(*argv, *between, "--", *specs))
        return found

    def differs_from_head(self, pathname: str) -> bool:
        """Whether a file of the worktree is not as HEAD has it."""
        spec = f":(literal){pathname}"
        return bool(self.raw("diff", "--quiet", "HEAD", "--", spec, ok=(0, 1, 128))[0])

    def tracked_among(self, paths: Iterable[str], env: Mapping[str, str] | None = None) -> set[str]:
        """Return which of these files, or files in these directories, the index has."""
        wanted = list(paths)
        found: set[str] = set()
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            literal = {"GIT_LITERAL_PATHSPECS": "1", **(env or {})}
            found.update(self.names("ls-files", "-z", "--", *part, env=literal))
        return found

    def comes_by_commits(self, path: str) -> bool:
        """Whether a commit can have brought a file: it is tracked, or lies behind a link."""
        linked = any((self.top / p).is_symlink() for p in (path, os.path.dirname(path)))
        linked = linked or (self.top / os.path.dirname(path) / ".git").exists()  # a submodule
        return linked or bool(self.tracked_among([path]))

    def attributes_of(self, path: str, names: Sequence[str]) -> dict[str, str]:
        """Return which of these attributes are set for a file, and to what (gitattributes(5))."""
        words = self.names("check-attr", "-z", *names, "--", path)
        said = zip(words[1::3], words[2::3], strict=True)
        return {name: value for name, value in said if value not in {"unspecified", "unset"}}

    def tracked_in(self, path: str, index: Path) -> bool:
        """Whether the index of another worktree has a file."""
        return bool(self.tracked_among([path], {"GIT_INDEX_FILE": str(index)}))

    def stage(self, paths: Sequence[str], *, index: Path | None = None) -> None:
        """Put files of the worktree into the index (githooks(5): the inherited GIT_INDEX_FILE).

        `update-index` and not `add`: it asks no ignore rules. A path that is gone is removed.
        """
        if not paths:
            return
        names = b"".join(os.fsencode(p) + b"\0" for p in paths)
        self._edit_index("--add", "--remove", "-z", "--stdin", stdin=names, index=index)

    def stage_behind_lock(self, paths: Sequence[str]) -> None:
        """`git commit -a`: stage also in the index that git goes back to when it refuses.

        Git holds the lock of that index while it waits for our hook, so nobody else writes it.
        """
        index = self.index
        if index.name.endswith(".lock"):
            self.stage(paths, index=index.with_name(index.name.removesuffix(".lock")))

    def unstage(self, paths: Sequence[str]) -> None:
        """Take paths out of the index; the files stay where they lie."""
        if paths:
            names = b"".join(os.fsencode(p) + b"\0" for p in paths)
            self._edit_index("--force-remove", "-z", "--stdin", stdin=names)

    def _edit_index(self, *args: str, stdin: bytes, index: Path | None = None) -> None:
        """`git update-index`, aside: a kill leaves neither a lock nor half of it."""

        def edit(aside: Path) -> None:
            self.raw("update-index", *args, stdin=stdin, env={"GIT_INDEX_FILE": str(aside)})

        place, held = index or self.index, self.index.name.endswith(".lock")
        (change_held if held else change)(place, edit)

    def others_matching(self, lines: Sequence[str], pathspecs: Sequence[str] = ()) -> list[str]:
        """Return files on disk, in git or not, that gitignore lines match."""
        nothing = {"GIT_INDEX_FILE": str(self.private / "no-index")}
        with self._pattern_file(lines) as file:
            return self.names(
                "ls-files", "-o", "-i", "-z", f"--exclude-from={file}", "--", *pathspecs,
                env=nothing,
            )  # fmt: skip

    def tracked_matching(self, lines: Sequence[str]) -> list[str]:
        """Return the files in the index that gitignore lines match."""
        if not lines:
            return []
        with self._pattern_file(lines) as file:
            return self.names("ls-files", "-c", "-i", "-z", f"--exclude-from={file}")

    @contextlib.contextmanager
    def _pattern_file(self, lines: Sequence[str]) -> Iterator[Path]:
        """Yield a file of these lines; of its own, since `status` asks beside a hook."""
        file = self.private / temporary_name()
        text = "".join(f"{anchored(line, self.prefix)}\n" for line in lines)
        try:
            file.write_text(text, "utf-8", "surrogateescape")
            yield file
        finally:
            with contextlib.suppress(OSError):
                file.unlink()

    def ignored(self, paths: Sequence[str]) -> set[str]:
        """Return which of these paths git's ignore rules match (tracked or not)."""
        if not paths:
            return set()
        names = b"".join(os.fsencode(p) + b"\0" for p in paths)
        status, out = self.raw(
            "check-ignore", "-z", "--no-index", "--stdin", stdin=names, ok=(0, 1)
        )
        return {decode(name) for name in out.split(b"\0") if name} if not status else set()

    def attributes(self, name: str, paths: Sequence[str]) -> dict[str, str]:
        """Return what gitattributes say under `name` of each path ("unspecified": nothing)."""
        fields = self.out("check-attr", "-z", name, "--", *paths).split("\0")
        return dict(zip(fields[::3], fields[2::3], strict=False))

    def ignored_directories(self) -> list[str]:
        """Return the directories that git's rules ignore as such (not only all that is in them)."""
        listed = self.names(
            "--no-optional-locks", "status", "--porcelain", "-z", "--no-renames",
            "--ignore-submodules=all", "--untracked-files=all", "--ignored=matching", "--", ".",
        )  # fmt: skip
        found = [d[3:].rstrip("/") for d in listed if d.startswith("!! ") and d.endswith("/")]
        return [d.removeprefix(self.prefix) for d in found if d.startswith(self.prefix)]
