"""What git holds: revisions, commits, trees, blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devml_git.amounts import counted
from devml_git.errors import GitFailed, Refused, UsageError
from devml_git.gate import shown
from devml_git.plumbing.names import IndexEntry, is_pointer_file
from devml_git.plumbing.programs import decode
from devml_git.plumbing.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


# What `--follow-symlinks` calls links that lead to no object
_LEADS_NOWHERE = (b"symlink ", b"dangling ", b"loop ", b"notdir ")


class Objects(Settings):
    """Commits by their names, what they descend from, and the files they hold."""

    def commit_of(self, rev: str) -> str | None:
        """Return the full id of the commit that `rev` names, or None when it names none."""
        if not rev or "\0" in rev or rev.startswith("^"):  # `^REV` names what is left out
            return None
        status, out = self.raw(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}",
            ok=(0, 1, 128),
        )  # fmt: skip
        return None if status else decode(out).strip()

    def names_commits(self, text: str) -> bool:
        """Whether git takes a word for revisions: a commit, `A..B`, `^A`, `A^@`..."""
        if not text or text.startswith("-") or "\0" in text:
            return False
        status, out = self.raw("rev-parse", "--revs-only", text, ok=(0, 128))
        return status == 0 and bool(out)

    def require_commit(self, rev: str) -> str:
        """Return the commit id of `rev`. Raises UsageError for an unknown revision."""
        sha = self.commit_of(rev)
        if sha is None:
            raise self.unknown(rev)
        return sha

    @staticmethod
    def unknown(rev: str) -> UsageError:
        """Return the error for what names no commit; of HEAD, that there is none yet."""
        if rev == "HEAD":
            hint = 'git commit, or devml-git snapshot -m "..."'
            return UsageError("there is no commit yet", hint=hint)
        return UsageError(f"unknown revision '{shown(rev)}'", hint="git log --oneline --all")

    def merge_base(self, one: str, other: str) -> str:
        """Return the newest commit that two commits both descend from. Raises UsageError."""
        status, out = self.raw("merge-base", one, other, ok=(0, 1))
        if status:
            raise UsageError(
                f"{one[:10]} and {other[:10]} have no commit in common",
                hint="devml-git diff A B   compares the two themselves",
            )
        return decode(out).strip()

    def head(self) -> str | None:
        """Return the commit id of HEAD, or None before the first commit."""
        return self.commit_of("HEAD")

    def branch(self) -> str | None:
        """Return the current branch's short name, or None when HEAD is detached."""
        status, out = self.raw("symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
        return None if status else decode(out).strip()

    def name_of(self, rev: str) -> str | None:
        """Return the branch that `rev` names, short, or None when it names a commit only."""
        status, out = self.raw("rev-parse", "--abbrev-ref", "--quiet", rev, ok=(0, 1, 128))
        name = decode(out).strip()
        return name if status == 0 and name not in {"", "HEAD"} else None

    def titles(self, commits: Sequence[str]) -> dict[str, str]:
        """Return the first lines of commits' messages, by commit id."""
        if not commits:
            return {}
        argv = ("log", "--no-walk=unsorted", "--format=%H %s", "--stdin")
        _, out = self.raw(*argv, stdin="".join(f"{c}\n" for c in commits).encode())
        return {c: title for c, _, title in (x.partition(" ") for x in decode(out).splitlines())}

    def bylines(self, commits: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return author and date (ISO 8601, with its zone) of commits, by commit id."""
        if not commits:
            return {}
        argv = ("log", "--no-walk=unsorted", "-z", "--format=%H%n%aI%n%an", "--stdin")
        _, out = self.raw(*argv, stdin="".join(f"{c}\n" for c in commits).encode())
        rows = (row.split("\n", 2) for row in decode(out).split("\0") if row)
        return {commit: (author, date) for commit, date, author in rows}

    def parents(self, commits: Sequence[str]) -> dict[str, list[str]]:
        """Return the parents of commits, by commit id (a shallow clone's last ones have none)."""
        if not commits:
            return {}
        asked = "".join(f"{commit}\n" for commit in commits).encode()
        _, out = self.raw("rev-list", "--no-walk", "--parents", "--stdin", stdin=asked)
        return {line.split()[0]: line.split()[1:] for line in decode(out).splitlines()}

    def reachable(self, tips: Sequence[str], without: Sequence[str] = ()) -> list[str]:
        """Return the commits that `tips` reach and `without` (ids, or rev-list options) do not.

        Newest first. What git does not have is left out of `without`.
        """
        if not tips:
            return []
        options = [word for word in without if word.startswith("--")]
        ids = self._existing(sorted({word for word in without if not word.startswith("--")}))
        lines = [*tips, *(f"^{i}" for i in sorted(ids))]
        argv = ("rev-list", "--topo-order", "--stdin", *(["--not", *options] if options else []))
        _, out = self.raw(*argv, stdin="".join(f"{line}\n" for line in lines).encode())
        return decode(out).split()

    def all_commits(self) -> list[str]:
        """Return the commits of all refs and HEAD, newest first."""
        head = ["HEAD"] if self.head() else []
        return self.out("rev-list", "--topo-order", "--all", *head, "--").split()

    def commits_meant(self, revs: Sequence[str], *limits: str, walk: bool = False) -> list[str]:
        """Return the commits that revisions and ranges mean, newest first.

        A single revision is that commit alone, unless `walk`. Raises UsageError.
        """
        alone = not walk and not any(".." in rev or rev.startswith("^") for rev in revs)
        argv = ("rev-list", "--topo-order", *(["--no-walk"] if alone else []), *limits)
        try:
            return self.out(*argv, "--end-of-options", *revs, "--").split()
        except GitFailed as e:
            raise UsageError(
                f"unknown revision '{shown(' '.join(revs))}'", hint="git log --oneline --all"
            ) from e

    @property
    def shallow(self) -> frozenset[str]:
        """The commits of a shallow clone whose parents are not here."""
        try:
            return frozenset((self.common_dir / "shallow").read_text().split())
        except OSError:
            return frozenset()

    def commits_of(self, ids: Sequence[str]) -> list[str | None]:
        """Return the commits that objects are, or tags of; None for what is none."""
        return self.ids_of([f"{i}^{{commit}}" for i in ids])

    def ids_of(self, specs: Sequence[str], *, follow: bool = False) -> list[str | None]:
        """Return the objects that git knows by these names (as COMMIT:PATH), None for none.

        `follow` links inside a commit's tree; one that leads out of it leads to none.
        """
        if not specs:
            return []
        # git before 2.38 takes a name a line: one with a newline in it counts as not there
        asked = "".join(f"{'' if chr(10) in s else s}\n" for s in specs)
        argv = ["cat-file", "--batch-check=%(objectname)", *(["--follow-symlinks"] * follow)]
        _, out = self.raw(*argv, stdin=asked.encode("utf-8", "surrogateescape"))
        found: list[str | None] = []
        at = 0
        while len(found) < len(specs):
            end = out.index(b"\n", at)
            line = out[at:end]
            at = end + 1
            found.append(None if b" " in line else decode(line))
            if follow and line.startswith(_LEADS_NOWHERE):  # what it says follows (git-cat-file(1))
                at += int(line.split(b" ")[1]) + 1
        return found

    def present(self, specs: Sequence[str]) -> list[bool]:
        """Return which objects git has; `specs` as COMMIT:PATH."""
        return [found is not None for found in self.ids_of(specs)]

    def _existing(self, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        asked = "\n".join(ids).encode() + b"\n"
        _, out = self.raw("cat-file", "--batch-check=%(objectname)", stdin=asked)
        return {line for line in decode(out).splitlines() if " " not in line}

    def all_objects(self) -> set[str]:
        """Return the ids of all objects that are here; a partial clone fetches none for this."""
        argv = ("cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectname)")
        return set(self.out(*argv).split())

    def empty_tree(self) -> str:
        """Return the id of the tree that holds nothing: what lies before the first commit."""
        _, out = self.raw("hash-object", "-t", "tree", "--stdin", "-w", stdin=b"")
        return decode(out).strip()

    def tree_entries(self, commit: str, *, all_paths: bool = False) -> list[IndexEntry]:
        """Return a commit's files: its pointer files, or all with `all_paths`."""
        entries = []
        nested = set()
        for line in self.names("ls-tree", "-r", "-z", commit):
            meta, path = line.split("\t", 1)
            mode, _kind, blob = meta.split(" ")
            if path.endswith("/.dvc/config"):
                nested.add(path.removesuffix(".dvc/config"))
            if all_paths or is_pointer_file(path):
                entries.append(IndexEntry(mode, blob, 0, path))
        return [e for e in entries if all_paths or not e.path.startswith(tuple(nested))]

    def blobs_at(self, commit: str, paths: Sequence[str]) -> dict[str, str]:
        """Return the ids of the blobs or trees that a commit has at these paths, "" for none."""
        found = dict.fromkeys(paths, "")
        for start in range(0, len(paths), 500):
            listed = self.names("ls-tree", "-z", "--", commit, *paths[start : start + 500])
            found.update(
                {path: meta.split(" ")[2] for meta, _, path in (x.partition("\t") for x in listed)}
            )
        return found

    def file_at(self, commit: str, path: str) -> bytes | None:
        """Return a file as a commit has it; None where it has none (a link is none)."""
        for line in self.names("ls-tree", "-z", commit, "--", path):
            meta, name = line.split("\t", 1)
            mode, _, blob = meta.split(" ")
            if name == path and mode.startswith("100"):
                return next(self._blobs([blob]))
        return None

    def data_at(
        self, rev: str, path: str, most: int, env: Mapping[str, str] | None = None
    ) -> bytes | None:
        """Return a file of a revision ("": of the index).

        None where there is none, or one of more than `most` bytes.
        """
        name = f"{rev}:{self.prefix}{path}"
        status, size = self.raw("cat-file", "-s", name, ok=(0, 128), env=env)
        if status or int(size) > most:
            return None
        status, out = self.raw("cat-file", "blob", name, ok=(0, 128), env=env)
        return None if status else out

    def blob(self, blob: str, file: str, most: int) -> bytes:
        """Return the content of a blob. Raises Refused, naming the file, for more than `most`."""
        (text,) = self.small_blobs([blob], most).values()
        if text is None:
            raise Refused(f"{shown(file)}: larger than {counted(most, 'byte')}")
        return text

    def _blobs(self, ids: Sequence[str]) -> Iterator[bytes]:
        """Yield the content of blobs, in order, from one `git cat-file --batch`."""
        if not ids:
            return
        _, out = self.raw("cat-file", "--batch", stdin="\n".join(ids).encode() + b"\n")
        at = 0
        for _ in ids:
            end = out.index(b"\n", at)
            header = out[at:end].split(b" ")
            if len(header) != 3:  # noqa: PLR2004 - "<id> missing"
                raise GitFailed(f"git object {decode(out[at:end])}", hint="git fsck")
            length = int(header[2])
            yield out[end + 1 : end + 1 + length]
            at = end + 1 + length + 1

    def small_blobs(self, ids: Sequence[str], limit: int) -> dict[str, bytes | None]:
        """Return the content of blobs by id; None for one of more than `limit` bytes."""
        found: dict[str, bytes | None] = dict.fromkeys(ids)
        sizes = zip(found, self.blob_sizes(list(found)), strict=True)
        small = [blob for blob, size in sizes if size <= limit]
        found.update(zip(small, self._blobs(small), strict=True))
        return found

    def blob_sizes(self, ids: Sequence[str]) -> list[int]:
        """Return sizes in bytes of objects; 0 for what is missing (a submodule's commit)."""
        if not ids:
            return []
        _, out = self.raw(
            "cat-file", "--batch-check=%(objectsize)", stdin="\n".join(ids).encode() + b"\n"
        )
        return [int(line) if line.isdigit() else 0 for line in out.split(b"\n")[: len(ids)]]

    def lines_changed(self, old: Path, new: Path) -> tuple[int, int]:
        """Return how many lines git's diff of two files, of any place, adds and removes."""
        options = ("--numstat", "-z", "--text", "--no-ext-diff", "--no-textconv", "--no-color")
        _, out = self.raw("diff", "--no-index", *options, "--", str(old), str(new), ok=(0, 1))
        words = out.split(b"\t")
        return (int(words[0]), int(words[1])) if out else (0, 0)
