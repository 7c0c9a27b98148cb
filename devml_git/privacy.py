"""Files of ours that are nobody else's: made so, and whether they still are.

They name paths, addresses and branches, and some hold pieces of content. Nothing is imported here
that a diff driver would have to wait for.
"""

from __future__ import annotations

import os
import stat

OTHERS = 0o077


def make_file(path: str | os.PathLike[str]) -> None:
    """Make an empty file of mode 0600 where there is none, for SQLite, which would make it 0644.

    Its `-wal`, `-shm` and `-journal` get the mode of the database (`findCreateFileMode`
    in its os_unix.c). Raises nothing: whoever opens it says what is wrong.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        os.close(os.open(path, flags, 0o600))
    except OSError:
        return


def is_private(st: os.stat_result) -> bool:
    """Whether nobody but its owner may read, write or enter what a stat is of."""
    return os.name == "nt" or not stat.S_IMODE(st.st_mode) & OTHERS
