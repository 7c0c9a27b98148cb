"""Another index than git's own: what a commit of all would be, HEAD moved under files."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from devml_git.index import change
from devml_git.place import temporary_name
from devml_git.plumbing.programs import decode
from devml_git.plumbing.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


class Aside(Staging):
    """Work on a copy of the index, put in place at once or never."""

    @contextlib.contextmanager
    def private_index(self) -> Iterator[dict[str, str]]:
        """Copy the index to a private place; yield the environment in which git uses the copy.

        The copy keeps the index's time, by which git tells what may have changed unseen
        (technical/racy-git). Only one at a time: the caller has this project's lock.
        """
        copy = self.private / "scratch.index"
        for left in (copy, copy.with_name("scratch.index.lock")):  # of a run that was killed
            left.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(self.index, copy)
        try:
            yield {"GIT_INDEX_FILE": str(copy)}
        finally:
            copy.unlink(missing_ok=True)

    def differences(self, env: Mapping[str, str] | None = None) -> list[str]:
        """Return the files of the worktree that an index has not, or not so, but for deleted ones.

        Ignored files do not count; a repository of its own has a slash at the end.
        """
        argv = ("ls-files", "-m", "-o", "--exclude-standard", "-z")
        return sorted(set(self.whole.names(*argv, env=env)))

    def add_all(self, out_of_it: Iterable[str], env: Mapping[str, str]) -> None:
        """Bring an index in step with the whole worktree, but for paths that stay out of it."""
        specs = [":(top)", *(f":(top,exclude,literal){path}" for path in out_of_it)]
        names = b"".join(os.fsencode(spec) + b"\0" for spec in specs)
        argv = ("add", "-A", "--pathspec-from-file=-", "--pathspec-file-nul")
        self.whole.raw(*argv, stdin=names, env=env)

    def put_texts(self, texts: Mapping[str, bytes | None], env: Mapping[str, str]) -> None:
        """Put files into an index as a commit of these texts would (None: out of it)."""
        lines = []
        for path, text in texts.items():
            mode, blob = "0", "0" * 40
            if text is not None:
                argv = ("hash-object", "-w", "--stdin", f"--path={path}")
                mode, blob = "100644", decode(self.raw(*argv, stdin=text)[1]).strip()
            lines.append(os.fsencode(f"{mode} {blob}\t{self.prefix}{path}") + b"\0")
        if lines:
            argv = ("update-index", "--add", "-z", "--index-info")
            self.raw(*argv, stdin=b"".join(lines), env=env)

    def staged_only(self) -> bool:
        """Whether the index holds something that neither HEAD nor the worktree has."""
        against = self.head() or self.empty_tree()
        staged = self.whole.names("diff-index", "--cached", "--name-only", "-z", against, "--")
        self.whole.raw("update-index", "-q", "--refresh", ok=(0, 1))
        lying = set(self.whole.names("diff-files", "--name-only", "-z"))
        return any(path in lying for path in staged)

    @contextlib.contextmanager
    def standing_on(self, commit: str) -> Iterator[None]:
        """Point HEAD and index at a commit whose files lie in the worktree; back where that fails.

        No file is touched. Raises GitFailed where another git is at work on the index.
        """
        branch = self.raw("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))[1].decode().strip()
        was, index = self.head(), self.index
        saved = self.private / "before.index"
        shutil.copy2(index, saved)

        def edit(aside: Path) -> None:
            env = {"GIT_INDEX_FILE": str(aside)}
            self.whole.raw("read-tree", commit, env=env)
            self.whole.raw("update-index", "-q", "--refresh", ok=(0, 1), env=env)

        try:
            change(index, edit)
            self.raw("update-ref", "--no-deref", "-m", "devml-git: snapshot", "HEAD", commit)
            yield
        except BaseException:
            if branch:
                self.raw("symbolic-ref", "HEAD", branch)
            elif was:
                self.raw("update-ref", "--no-deref", "HEAD", was)
            change(index, lambda aside: shutil.copy2(saved, aside))
            raise
        finally:
            saved.unlink(missing_ok=True)

    def export(self, commit: str, directory: Path) -> None:
        """Write a commit's files into a directory, without touching index or worktree."""
        if self.prefix:
            self.whole.export(commit, directory)
            return
        scratch = self.private / temporary_name()
        env = {"GIT_INDEX_FILE": str(scratch)}
        try:
            self.raw("read-tree", commit, env=env)
            self.raw("checkout-index", "-a", "-q", f"--prefix={directory}{os.sep}", env=env)
        finally:
            with contextlib.suppress(FileNotFoundError):
                scratch.unlink()
