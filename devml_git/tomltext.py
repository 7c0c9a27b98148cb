"""The only door to tomllib: TOML of a stranger, within bounds.

tomllib (of Python 3.11 to 3.14) takes quadratic time and memory for a key of many dotted parts: one
of 40,000 characters takes a gigabyte. Such keys are refused before it sees them.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from devml_git.bounds import limited, refuse_large_numbers

MAX_BYTES = 1 << 20
_MOST_PARTS = 32
# Possessive, bounded, and only from where a key may begin: about one pass over any text. Of parts
# that are longer there are too few to cost much
_PART = r"(?:[A-Za-z0-9_-]++|\"(?:[^\"\\\n]|\\.){0,200}+\"|'[^'\n]{0,200}+')[ \t]{0,99}+"
_DEEP_KEY = re.compile(rf"(?<![A-Za-z0-9_.\"'-])(?:{_PART}\.[ \t]{{0,99}}+){{{_MOST_PARTS}}}")


def loads(text: str, name: str = "TOML") -> dict[str, Any]:
    """Return what TOML says. Raises ValueError, in one line, for what cannot be or is too much.

    Raises Refused, with the file's name, for what takes too long, and for a number that does.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    if _DEEP_KEY.search(text):
        raise ValueError(f"a key of more than {_MOST_PARTS} dotted parts")
    try:
        with limited(name):
            table = tomllib.loads(text)
            refuse_large_numbers(table, name)
            return table
    except RecursionError as e:
        raise ValueError("nested too deep") from e
