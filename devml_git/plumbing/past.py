"""What commits did to files: which changed one, whether any ever held it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devml_git.plumbing.names import POINTER_PATHSPECS, ChangedBlob
from devml_git.plumbing.objects import Objects
from devml_git.plumbing.programs import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OWN_REFS = "refs/devml"
_LARGEST_VERSION = 1 << 20  # bytes; a larger configuration is not read anyway


class Past(Objects):
    """Questions that git answers by walking its history."""

    def history_of(self, commit: str, file: str) -> dict[str, list[str]]:
        """Return the commits up to `commit` that change a file, children first, with their parents.

        Parents are such commits, too: what lies between has the file unchanged. Of a merge that has
        the file from one side, the others are left out (git-rev-list(1), history simplification).
        """
        argv = ("rev-list", "--topo-order", "--parents", "--end-of-options", commit, "--")
        rows = (line.split() for line in self.out(*argv, f":(literal){file}").splitlines())
        return {commit: parents for commit, *parents in rows}

    def committed(self, oids: Iterable[str]) -> set[str]:
        """Return which of DVC's oids the pointers of some commit name (stashes and reflog too).

        The commits just left are asked first: one `git grep`, and nearly always the answer.
        """
        wanted = set(oids)
        if not wanted:
            return set()
        # git dies at HEAD@{1} where HEAD's reflog has but one entry (new clone, new worktree): last
        names = b"HEAD^{commit}\nORIG_HEAD^{commit}\nHEAD@{1}^{commit}\n"
        _, out = self.raw("cat-file", "--batch-check=%(objectname)", stdin=names, ok=(0, 128))
        revs = {line for line in decode(out).splitlines() if " " not in line}
        found: set[str] = set()
        if revs:
            patterns = [word for oid in wanted for word in ("-e", oid)]
            where = ("--", *POINTER_PATHSPECS)
            _, out = self.raw("grep", "-h", "-F", *patterns, *revs, *where, ok=(0, 1))
            found = {oid for oid in wanted if oid.encode() in out}
        return found | {oid for oid in wanted - found if self._ever_committed(oid)}

    def _ever_committed(self, oid: str) -> bool:
        return bool(
            self.out(
                "log", "--all", "--reflog", "-m", "-1", "--format=%H", f"-S{oid}",
                "--no-textconv",  # -S would search in the words of our diff driver
                "--", *POINTER_PATHSPECS,
            )
        )  # fmt: skip

    def ever_held(self, paths: Iterable[str], *, left: bool = False) -> set[str]:
        """Return which of these files, or files in these directories, some commit holds in git.

        All refs count, with `left` also what only reflogs name. Without their trees
        (`--filter=tree:0`) commits are not asked: each tree would be fetched by itself.
        """
        wanted = sorted(paths)
        filters = (v for k, v in self._settings.items() if k.endswith(".partialclonefilter"))
        if any(value.startswith("tree:") for value in filters):
            return set()
        refs = ("--all", "--reflog") if left else ("--all",)
        argv = ("log", *refs, "--format=", "--name-only", "--no-renames", "--relative", "-z")
        found: set[str] = set()
        for start in range(0, len(wanted), 500):
            specs = [f":(literal){path}" for path in wanted[start : start + 500]]
            found.update(self.names(*argv, "--", *specs))
        return found

    def versions_ever(self, file: str) -> list[bytes]:
        """Return every version of a file, in whatever directory, that any commit here has.

        Every commit whose object lies here counts, also one that no ref names any more: a branch
        that was merged by a squash and deleted, a stash, a fetch. So do trees that a tag names. Our
        own snapshots between commits do not: what they have, the user had in his workspace.
        """
        kinds = self.out(
            "cat-file", "--batch-all-objects", "--unordered",
            "--batch-check=%(objecttype) %(objectname)",
        )  # fmt: skip
        own = set(self.out("for-each-ref", "--format=%(objectname)", OWN_REFS).split())
        ids = {i for kind, i in (x.split() for x in kinds.splitlines()) if kind == "commit"} - own
        spec = f":(top,glob)**/{file}"
        argv = ("--stdin", "--root", "-m", "-r", "-z", "--raw", "--no-abbrev", "--no-renames")
        asked = "".join(f"{i}\n" for i in sorted(ids)).encode()
        _, out = self.raw("diff-tree", *argv, "--", spec, stdin=asked)
        rows = [w[1:].split(" ") for w in decode(out).split("\0") if w.startswith(":")]
        blobs = {
            blob
            for before, after, old, new, _ in rows
            for mode, blob in ((before, old), (after, new))
            if mode.startswith("100")
        }
        blobs.update(self._in_named_trees(file))
        texts = self.small_blobs(sorted(blobs), _LARGEST_VERSION)
        return [text for text in texts.values() if text is not None]

    def _in_named_trees(self, file: str) -> set[str]:
        """Return the blobs of a file in trees that a ref names without a commit."""
        form = "--format=%(objecttype) %(objectname) %(*objecttype) %(*objectname)"
        words = (line.split() for line in self.out("for-each-ref", form).splitlines())
        trees = [ids[i + 1] for ids in words for i in range(0, len(ids), 2) if ids[i] == "tree"]
        found = set()
        for tree in trees:
            for line in self.names("ls-tree", "-r", "-z", "--full-tree", tree):
                meta, _, path = line.partition("\t")
                if path == file or path.endswith(f"/{file}"):
                    found.add(meta.split(" ")[2])
        return found

    def changed_blobs(
        self,
        commits: Sequence[str],
        pathspecs: Sequence[str],
        parents: Mapping[str, str] | None = None,
    ) -> list[ChangedBlob]:
        """Return the files that commits have otherwise than any of their parents.

        `parents` names the one to compare with, where it is not all of them.
        """
        lines = [f"{c} {parents[c]}" if parents and c in parents else c for c in commits]
        argv = ("--stdin", "--root", "-m", "-r", "-z", "--raw", "--no-abbrev", "--no-renames")
        asked = "".join(f"{line}\n" for line in lines).encode()
        _, out = self.raw("diff-tree", *argv, "--relative", "--", *pathspecs, stdin=asked)
        found = []
        commit = ""
        words = iter(decode(out).split("\0"))
        for word in words:
            if word.startswith(":"):
                old, new = (blob if blob.strip("0") else "" for blob in word.split(" ")[2:4])
                found.append(ChangedBlob(commit, next(words), old, new))
            elif word:
                commit = word
        return found
