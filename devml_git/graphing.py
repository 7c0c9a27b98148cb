"""git's own graph beside lines that git does not know: `git log --graph`, read as it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from devml_git import gitstream
from devml_git.choosing import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from devml_git.choosing import Chosen
    from devml_git.plumbing import Git

T = TypeVar("T")
_FILLER = 6  # lines below a commit until an octopus is drawn to its end


class Graph:
    """The drawing of one walk. Asked for each commit in the walk's order."""

    def __init__(self, git: Git, chosen: Chosen) -> None:
        self._lines = gitstream.graph(git, arguments(chosen), _FILLER)  # begins when asked

    def close(self) -> None:
        """End it."""
        self._lines.close()

    def around(self, commit: str, texts: Sequence[T]) -> Iterator[tuple[str, T | None]]:
        """Yield (what is drawn, text) for a commit's texts; some lines are drawn without one."""
        drawn, found = self._next()
        while found != commit and (drawn or found):
            yield drawn, None
            drawn, found = self._next()
        below = [self._next()[0] for _ in range(_FILLER)]
        rest = list(texts)
        yield drawn, rest.pop(0) if rest else None
        for line in below:
            if rest or set(line) & set("\\/_-."):
                yield line, rest.pop(0) if rest else None
        for text in rest:
            yield below[-1], text

    def _next(self) -> tuple[str, str]:
        return next(self._lines, ("", ""))
