"""What is known of content beside its name: tensors with digests, columns, lines. Kept by oid.

Each content is read once, however often `git log -p` and `blame` come by. Git's own cache of a
textconv (`cachetextconv`) is by the pointer's blob and would keep "content is not here" for ever;
this one only holds what was read, and proven to be what its oid says.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devml_git.kept import Kept

if TYPE_CHECKING:
    from pathlib import Path

_ENDING = 16  # characters of a name's ending


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """One tensor: `digest` is BLAKE2b over its elements' bytes in row-major order, 32 hex digits
    ("" where it was not read); `mean` and `norm` (L2) are None for what is no plain numbers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str
    mean: float | None = None
    norm: float | None = None

    @property
    def identity(self) -> tuple[str, tuple[int, ...], str]:
        """What two tensors have in common that are the same."""
        return self.dtype, self.shape, self.digest


@dataclass(frozen=True, slots=True)
class Summary:
    """One content: `format` ("safetensors", "table", "text"... or "" for what nobody knows),
    `tensors` of a model in its file's order, and what else there is to say, in `lines`. `whole` is
    False where another look may find more: too large for this one, or an extra is not installed.
    """

    format: str
    tensors: tuple[TensorSummary, ...] = ()
    lines: tuple[str, ...] = ()
    is_model: bool = False
    whole: bool = True

    def to_bytes(self) -> bytes:
        """Return it as it is kept: JSON."""
        rows = [[t.name, t.dtype, t.shape, t.digest, t.mean, t.norm] for t in self.tensors]
        return json.dumps([self.format, rows, self.lines, self.is_model]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Summary:
        """Return what `to_bytes` made. Raises ValueError for anything else."""
        try:
            form, rows, lines, is_model = json.loads(data)
            tensors = tuple(TensorSummary(n, d, tuple(s), g, m, l2) for n, d, s, g, m, l2 in rows)
            return cls(form, tensors, tuple(lines), is_model)
        except (TypeError, RecursionError) as e:
            raise ValueError("no summary") from e


class Summaries:
    """Summaries that are kept, by oid; `directory` is `devml/` in git's common directory."""

    def __init__(self, directory: Path) -> None:
        self._kept = Kept(directory)

    def get(self, oid: str, hash_name: str, name: str) -> Summary | None:
        """Return what is known of an object; `name` is the artifact's, for its ending."""
        data = self._kept.get(_key(oid, hash_name, name))
        with contextlib.suppress(ValueError):
            return None if data is None else Summary.from_bytes(data)
        return None

    def put(self, oid: str, hash_name: str, name: str, summary: Summary) -> None:
        """Keep what was found of an object, if that is all there is."""
        if summary.whole:
            self._kept.put(_key(oid, hash_name, name), summary.to_bytes())


def _key(oid: str, hash_name: str, name: str) -> str:
    """Return the key: content, and the ending by which a reader chooses (`.csv`)."""
    base = name.rsplit("/", 1)[-1].lower()
    ending = base[base.rfind(".") :][:_ENDING] if "." in base else ""
    return f"summary {hash_name} {oid} {ending}"
