"""gitignore patterns as regular expressions that take no exponential time, whatever they say.

pathspec, which DVC and our rules use, makes `[^/]*` of `*` and `.+/` of `**/`: a pattern of thirty
stars takes years of Python's `re`. Few patterns have more than one wildcard of a kind. For those
that have, `of` returns an equivalent in which a wildcard that has found its place never looks for
another one (atomic groups): all gaps are alike, so the first place is as good as any.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from devml_git.bounds import MAX_PATTERN

_MOST_GAPS = 3  # `**/` in one rule: git's matcher takes depth ** gaps steps for a path
_FEW = 1  # wildcards of a kind that pathspec may keep
_STARS = re.compile(r"(\\.)|\*\*+")  # an escaped star is none
_END = "(?:(?P<ps_d>/)|$)"  # pathspec's mark: a directory matched, and what lies in it


def simplified(pattern: str) -> str:
    """Return a pattern that means the same without repeated wildcards: `**/**/` is `**/`.

    For git, whose own matcher takes exponential time for those.
    """
    sign, body = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    parts = [
        part if part == "**" else _STARS.sub(lambda found: found[1] or "*", part)
        for part in body.split("/")
    ]
    kept = [
        part
        for part, after in zip(parts, [*parts[1:], ""], strict=True)
        if part != after or part != "**"
    ]
    return sign + "/".join(kept)


def unfit(rule: str) -> str | None:
    """Return why a track rule cannot be asked of git, or None where it can."""
    if len(rule) > MAX_PATTERN:
        return f"longer than {MAX_PATTERN} characters"
    if simplified(rule).split("/").count("**") > _MOST_GAPS:
        return f"more than {_MOST_GAPS} `**`"
    return None


def has_patterns(text: bytes) -> bool:
    """Whether a file of patterns (`.dvcignore`) has any."""
    lines = (line.strip() for line in text.splitlines())
    return any(line and not line.startswith(b"#") for line in lines)


def is_hard(pattern: str) -> bool:
    """Whether a pattern has so many wildcards that `re` may take long with pathspec's reading."""
    parts = simplified(pattern).rstrip("/").split("/")
    return parts.count("**") > _FEW or any(p.count("*") > _FEW for p in parts if p != "**")


@cache
def factory() -> Any:  # noqa: ANN401 - pathspec's class of a pattern
    """Return pathspec's own class of gitignore patterns, but for hard ones."""
    try:
        from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern as Pattern
    except ImportError:  # pathspec < 1
        from pathspec.patterns import GitWildMatchPattern as Pattern

    class Bounded(Pattern):  # type: ignore[misc]
        """A pattern that `re` matches in about linear time."""

        __slots__ = ()

        @classmethod
        def pattern_to_regex(cls, pattern: str) -> tuple[str | None, bool | None]:
            """Return the regular expression, and whether what matches is included.

            A malformed pattern matches nothing, as in git.
            """
            if len(pattern) > MAX_PATTERN or is_hard(pattern) or simplified(pattern) != pattern:
                return of(pattern)  # `a***b`, too: pathspec reads each star by itself
            try:
                found: tuple[str | None, bool | None] = super().pattern_to_regex(pattern)
                if "[" in pattern and found[0] is not None:
                    re.compile(found[0])
            except (ValueError, re.error):
                return None, None
            return found

    return Bounded


def of(pattern: str) -> tuple[str | None, bool | None]:
    """Return what pathspec's `pattern_to_regex` does for a hard pattern, to the same matches.

    (None, None) is for one that matches nothing: too long, or malformed, as git ignores it.
    """
    if len(pattern) > MAX_PATTERN:
        return None, None
    text = pattern if pattern.endswith("\\ ") else pattern.rstrip()
    include = not text.startswith("!")
    body = simplified(text.removeprefix("!"))
    only_directories = body.endswith("/")
    parts = body.rstrip("/").split("/")
    if not parts[0]:
        del parts[0]
    elif len(parts) == 1:
        parts.insert(0, "**")
    end = "(?P<ps_d>/)" if only_directories else _END
    if parts[-1] == "**":  # all that lies in it, not itself
        parts.pop()
        end = end if only_directories else "/"
    try:
        runs = [[_component(p) for p in run] for run in _runs(parts)]
    except ValueError:
        return None, None
    return _joined(runs, end), include


def _runs(parts: list[str]) -> list[list[str]]:
    """Return the components between one `**` and the next."""
    runs: list[list[str]] = [[]]
    for part in parts:
        if part == "**":
            runs.append([])
        else:
            runs[-1].append(part)
    return runs


def _joined(runs: list[list[str]], end: str) -> str:
    first, *rest = runs
    start = "^" + "".join(f"{part}/" for part in first)
    if not rest:
        return "^" + "/".join(first) + end
    *between, last = rest
    gaps = "".join(
        f"(?>(?:[^/]++/)*?{''.join(f'{part}/' for part in run)})" for run in between if run
    )
    return f"{start}{gaps}(?:[^/]++/)*{'/'.join(last)}{end}"


def _component(glob: str) -> str:
    """Return one component of a glob. Raises ValueError for a bracket or escape without an end."""
    if glob == "*":
        return "[^/]+"
    first, *rest = _pieces(glob)
    if not rest:
        return first
    *between, last = rest
    gaps = "".join(f"(?>[^/]*?{piece})" for piece in between)
    return f"{first}{gaps}[^/]*{last}"


def _pieces(glob: str) -> list[str]:
    """Return regular expressions of what stands between the stars, each of a fixed length."""
    pieces, at = [""], 0
    while at < len(glob):
        found = _TOKEN.match(glob, at)
        if found is None:
            raise ValueError(glob)
        at = found.end()
        piece = found[0]
        if piece == "*":
            pieces.append("")
        elif piece == "?":
            pieces[-1] += "[^/]"
        elif found["set"] is not None:
            pieces[-1] += _bracket(found["not"], found["set"])
        else:
            pieces[-1] += re.escape(found["char"])
    return pieces


_TOKEN = re.compile(r"\*|\?|\[(?P<not>[!^]?)(?P<set>\]?[^\]]*)\]|\\?(?P<char>(?<=\\).|[^\\\[])")


def _bracket(negated: str, characters: str) -> str:
    inside = characters.replace("\\", "\\\\")
    expression = f"(?!/)[{'^' if negated else ''}{inside}]"
    try:
        re.compile(expression)
    except re.error as e:
        raise ValueError(expression) from e
    return expression
