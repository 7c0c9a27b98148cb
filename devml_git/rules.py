"""Track rules: which files on disk are artifacts, and what git must ignore for that.

The syntax is gitignore(5)'s. A rule that ends in a slash, or that names an existing directory,
makes that directory one artifact; every other rule matches files, each an artifact of its own.
Files are found by git itself (`ls-files -o -i --exclude-from`), so that a rule means exactly
what it would mean in a `.gitignore`.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from devml_git import gate, patterns
from devml_git.bounds import MAX_RULES
from devml_git.errors import UsageError
from devml_git.place import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pathspec import GitIgnoreSpec

    from devml_git.plumbing import Git

# What git must keep seeing inside a tracked place: pointers, and the texts about the data
VISIBLE = ("*.dvc", ".git*", ".dvcignore", "dvc.yaml", "dvc.lock", "README*")
_GLOB = re.compile(r"[*?\[\\]")
_NAME = re.compile(r"[\w.-]+/")  # a name alone, nothing in it that gitignore reads otherwise
_PRUNED = frozenset({".git", ".dvc", ".hg"})


@dataclass(frozen=True)
class Rules:
    """The track rules of a project, in order; a leading `!` takes paths out again."""

    root: Path
    patterns: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.patterns)

    @cached_property
    def _directories(self) -> tuple[str, ...]:
        """The patterns that make a directory one artifact, with a trailing slash."""
        return tuple(
            p if p.endswith("/") else f"{p}/" for p in self.patterns if self._is_directory(p)
        )

    def _is_directory(self, pattern: str) -> bool:
        if pattern.startswith("!"):
            return False
        if pattern.endswith("/"):
            return True
        return not _GLOB.search(pattern) and os.path.isdir(self.root / pattern.lstrip("/"))

    @cached_property
    def _files(self) -> tuple[str, ...]:
        return tuple(p for p in self.patterns if not self._is_directory(p))

    def exclude_lines(self) -> list[str]:
        """Return gitignore lines that match exactly the files the file rules track."""
        lines: list[str] = []
        for pattern in self._files:
            lines.append(pattern)
            if not pattern.startswith("!"):
                lines.append(f"!{pattern}/")
        # what a killed command left beside a pointer is no model
        return [*lines, *(f"!{name}" for name in (*VISIBLE, TEMPORARY))] if lines else []

    def ignore_lines(self, pattern: str) -> list[str]:
        """Return the lines a `.gitignore` at the root needs for one rule."""
        if pattern.startswith("!"):
            return [pattern]
        if self._is_directory(pattern):
            return [pattern if pattern.endswith("/") else f"{pattern}/"]
        base, slash, last = pattern.rpartition("/")
        if last in {"*", "**"}:  # matches all there is: directories, pointers, texts
            below = f"{base}/**/" if slash else ""
            return [pattern, f"!{below or '*/'}", *(f"!{below}{name}" for name in VISIBLE)]
        if not _GLOB.search(last):
            return [pattern]
        pointers = [f"!{pattern}.dvc"] if pattern.endswith("*") else []
        return [pattern, f"!{pattern}/", *pointers]

    def literal_directories(self) -> list[str]:
        """Return the directories that rules name without globs, each one artifact."""
        return [d.strip("/") for d in self._directories if not _GLOB.search(d)]

    def glob_directories(self) -> list[str]:
        """Return the rules that make directories artifacts wherever a pattern finds them."""
        return [d for d in self._directories if _GLOB.search(d) or not _anchor(d)]

    def places(self, git: Git) -> list[str]:
        """Return pathspecs of where the file rules can match at all, for a quick walk.

        Anchored rules only need their own directory. For the others the walk leaves out the
        directories that git ignores as a whole (virtual environments, build trees).
        """
        rules = [*self._files, *self.glob_directories()]
        anchors = [_anchor(p) for p in rules if not p.startswith("!")]
        if all(anchors):
            there = [a for a in anchors if a and os.path.exists(self.root / a)]
            return [f":(literal){a}" for a in sorted(set(there))]
        dirs = git.ignored_directories()
        keep = [d for d in dirs if not any(a and _related(a, d) for a in anchors)]
        return [".", *(f":(exclude,literal){d}" for d in keep if gate.shown(d, 1 << 16) == d)]

    def find(self, git: Git) -> Iterator[tuple[str, bool]]:
        """Yield the (path, is_directory) of everything on disk that the rules make an artifact."""
        taken = set()
        for path in self._find_directories():
            taken.add(path)
            yield path, True
        lines = self.exclude_lines()
        places = self.places(git) if lines else []
        if not places:
            return
        for path in git.others_matching(lines, places):
            private = not _PRUNED.isdisjoint(path.split("/"))
            if not private and not any(parent in taken for parent in _parents(path)):
                yield path.rstrip("/"), False

    def _find_directories(self) -> Iterator[str]:
        globs = []
        for pattern in self._directories:
            literal = pattern.strip("/")
            if _GLOB.search(pattern) or ("/" not in literal and not pattern.startswith("/")):
                globs.append(pattern)
            elif os.path.isdir(self.root / literal):
                yield literal
        if globs:
            yield from self._walk(_matcher(globs))

    def _walk(self, matches: Callable[[str], bool]) -> Iterator[str]:
        for here, dirs, _ in os.walk(self.root):
            below = os.path.relpath(here, self.root).replace(os.sep, "/")
            prefix = "" if below == "." else f"{below}/"
            found = [d for d in dirs if d not in _PRUNED and matches(f"{prefix}{d}/")]
            yield from (f"{prefix}{d}" for d in found)
            dirs[:] = [d for d in dirs if d not in _PRUNED and d not in found]

    def match(self, path: str) -> bool:
        """Whether the rules track a path, or a directory it lies in."""
        lines = [*self._directories, *self.exclude_lines()]
        return bool(lines) and _spec(lines).match_file(path)


def within_bounds(rules: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the track rules that git can be asked about, and a line on each that it cannot be.

    What such a rule would match is no artifact. `**/**/` becomes `**/`, which means the same.
    """
    fit, notes = [], []
    for rule in rules[:MAX_RULES]:
        why = patterns.unfit(rule)
        if why is None:
            fit.append(patterns.simplified(rule))
        else:
            notes.append(f"track rule '{gate.shown(rule, 40)}' is not used: {why}")
    if len(rules) > MAX_RULES:
        notes.append(f"of {len(rules)} track rules only the first {MAX_RULES} are used")
    return tuple(fit), notes


def _matcher(globs: list[str]) -> Callable[[str], bool]:
    """Return what tells whether a directory, `a/b/`, is one that these rules name.

    For names alone it does without pathspec, whose import is a tenth of what a hook costs.
    """
    if all(_NAME.fullmatch(p) for p in globs):
        return lambda path: f"{posixpath.basename(path[:-1])}/" in globs
    spec = _spec(globs)
    return lambda path: bool(spec.match_file(path))


def _spec(lines: list[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines, patterns.factory())


def _parents(path: str) -> Iterator[str]:
    cut = path.rfind("/")
    while cut > 0:
        yield path[:cut]
        cut = path.rfind("/", 0, cut)


def _anchor(pattern: str) -> str | None:
    """Return the literal directory (or file) an anchored pattern starts with, or None."""
    body = pattern.rstrip("/")
    if "/" not in body:
        return None
    found = _GLOB.search(body)
    literal = body if not found else body[: found.start()].rpartition("/")[0]
    return literal.strip("/") or None


def _related(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def normalise(pattern: str, prefix: str, root: Path) -> str:
    """Return a rule as it is written down: relative to the root, anchored where it names a path.

    `prefix` is the user's directory below the root ("" or "sub/"), as for a `.gitignore` there.
    A path that exists is anchored, and a directory gets its trailing slash. Raises UsageError.
    """
    negated, body = pattern.startswith("!"), pattern.removeprefix("!")
    body = body.removeprefix("./")
    if _is_path(body, root):
        body, prefix = _inside(body, root), ""
    if not body or "\n" in body or "\0" in body or gate.shown(body, len(body)) != body:
        raise UsageError(f"'{gate.shown(pattern)}' is not a pattern")
    if ".." in body.split("/"):
        joined = os.path.normpath(f"{prefix}{body}").replace(os.sep, "/")
        if joined.startswith(".."):
            raise UsageError(f"'{gate.shown(pattern)}' is outside of the repository")
        body, prefix = joined + ("/" if body.endswith("/") else ""), ""
    place = root / f"{prefix}{body}".strip("/")
    anchored = "/" in body.rstrip("/") or os.path.exists(place)
    if os.path.isdir(place) and not body.endswith("/"):
        body += "/"
    if prefix:
        body = f"{prefix}{body.lstrip('/')}" if anchored else f"{prefix}**/{body}"
    elif anchored and "/" not in body.rstrip("/"):
        body = f"/{body}"
    return f"{'!' if negated else ''}{_escape_existing(body, place)}"


def _is_path(body: str, root: Path) -> bool:
    """Whether a leading slash begins a place on this machine, not a pattern's anchor."""
    if not os.path.isabs(body):
        return False
    real = os.path.realpath(root)
    return os.path.lexists(body) or os.path.realpath(body).startswith(f"{real}{os.sep}")


def _inside(path: str, root: Path) -> str:
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(root)).replace(os.sep, "/")
    if relative.startswith(".."):
        raise UsageError(f"'{gate.shown(path)}' is outside of the repository")
    return "/" + relative + ("/" if path.endswith("/") else "")


def _escape_existing(body: str, place: Path) -> str:
    """A name that exists is meant literally, globs and all; git drops spaces at a line's end."""
    if not os.path.exists(place):
        return body
    return re.sub(r"([*?\[\]\\]| +\Z)", lambda m: re.sub(r"(.)", r"\\\1", m[0]), body)


def literal_line(path: str, is_dir: bool) -> str:  # noqa: FBT001
    """Return the gitignore line that matches exactly one path of the repository."""
    escaped = re.sub(r"([\\*?\[\] !#])", r"\\\1", path)
    return f"/{escaped}{'/' if is_dir else ''}"


def covering(patterns: Sequence[str], path: str) -> str | None:
    """Return the rule given, or that tracks exactly this path (what `untrack` removes), or None."""
    for pattern in patterns:
        if pattern == path:
            return pattern
        literal = re.sub(r"\\(.)", r"\1", pattern).strip("/")
        if literal == path and not (_GLOB.search(pattern) and "\\" not in pattern):
            return pattern
    return None
