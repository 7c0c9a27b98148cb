"""What can go wrong, one class per exit code of product.md's table.

A door to an outside program (git, DVC, the file system) translates what it sees into one of
these; the command line prints `message` and `hint` and leaves with `exit_code`.
"""

from __future__ import annotations

from devml_git.escaping import redacted, shown_lines

MEND = "devml-git verify --all --repair"  # for whatever is corrupt in the cache


class DevmlError(Exception):
    """Base of everything this package raises on purpose.

    `message` says what went wrong, `hint` (optional) names the command that helps. Both are fit
    to be shown wherever the error ends up, passwords in addresses left out, also where whoever
    raised it forgot `gate.shown`.
    """

    exit_code = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = shown_lines(redacted(message))
        self.hint = None if hint is None else shown_lines(redacted(hint))
        super().__init__(self.message)


class UsageError(DevmlError):
    """The request itself is wrong: an unknown option, revision, path or configuration key."""

    exit_code = 2


class NotARepository(DevmlError):
    """There is no git repository, or no devml-git project in it."""

    exit_code = 10


class GitFailed(DevmlError):
    """The git program failed; `argv` and `stderr` are what was run and what it said."""

    exit_code = 20

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        argv: tuple[str, ...] = (),
        stderr: str = "",
        status: int = 1,
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = argv
        self.stderr = stderr
        self.status = status


class DvcFailed(DevmlError):
    """DVC, its configuration or a DVC remote failed."""

    exit_code = 21


class StorageFailed(DevmlError):
    """The file system refused: disk full, read-only, unreadable, or a file that never holds still.

    product.md's table has no code of its own for these; 21 is the code of the storage side.
    """

    exit_code = 21


class Refused(DevmlError):
    """Something that came out of a pointer, manifest or configuration did not pass the gate."""

    exit_code = 21


class ContentLost(DevmlError):
    """Content is neither in the cache nor on a DVC remote, or only a corrupt copy is left."""

    exit_code = 30


class WouldOverwrite(DevmlError):
    """Going on would replace work that is in no snapshot."""

    exit_code = 31


class HookInTheWay(DevmlError):
    """A hook or a hooks directory that is not ours stands where ours would go."""

    exit_code = 40
