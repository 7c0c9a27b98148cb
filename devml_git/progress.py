"""Progress of long work: a parameter of the library, silent unless somebody listens."""

from __future__ import annotations


class Progress:
    """Receives the progress of work counted in bytes. This one stays silent."""

    def start(self, what: str, total: int) -> None:
        """Begin a piece of work of `total` bytes, described by `what`."""

    def advance(self, nbytes: int) -> None:
        """Count `nbytes` as done. Called from several threads."""

    def finish(self) -> None:
        """End the piece of work that was started last."""


SILENT = Progress()
