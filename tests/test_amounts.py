"""How counts, sizes and numbers are written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from devml_git.amounts import counted, human, number, signed_size
from devml_git.wording import from_to, padded, width_of

PACKAGE = Path(__file__).parents[1] / "devml_git"
# A number before one of these is to be `counted`: "1 tensors" is what users saw
NOUNS = re.compile(
    r"(?: more| older| changed)* (?:artifacts|bytes|cells|channels|columns|commits|files|lines|members"
    r"|numbers|objects|parameters|rows|rules|snapshots|tensors|versions)\b"
)


def test_counts_have_their_noun() -> None:
    assert (counted(0, "file"), counted(1, "file"), counted(12000, "file")) == (
        "0 files", "1 file", "12,000 files"
    )  # fmt: skip


def test_sizes_are_in_powers_of_ten() -> None:
    assert [human(n) for n in (0, 999, 1000, 12_345_678)] == ["0 B", "999 B", "1.0 kB", "12.3 MB"]
    assert (signed_size(1200), signed_size(-3)) == ("+1.2 kB", "-3 B")


def test_numbers_have_six_digits() -> None:
    assert [number(v) for v in (0.1 + 0.75, 1e-7, 12, 1 << 200)] == ["0.85", "1e-07", "12", "huge"]
    assert (number(0.25, "+"), number(-3, "+")) == ("+0.25", "-3")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (0.1 + 0.75, 0.9, "0.85 -> 0.9"),
        (0.12345678, 0.12345679, "0.12345678 -> 0.12345679"),
        (1.0, 1.0 + 2**-52, "1 -> 1.0000000000000002"),
        (1, 1.0, "1 -> 1"),
        (None, 0.5, "- -> 0.5"),
        (float("nan"), float("inf"), "nan -> inf"),
        (True, "x" * 100, f"True -> {'x' * 57}..."),
    ],
)
def test_changes_of_a_value_can_be_told_apart(old: object, new: object, text: str) -> None:
    assert from_to(old, new) == text


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("é", 1), ("e\u0301", 1), ("数据", 4), ("ｆ", 2), ("☃", 1)]
)
def test_columns_of_a_terminal(text: str, width: int) -> None:
    assert width_of(text) == width
    assert width_of(padded(text, 9)) == 9


def test_no_count_stands_before_a_plural_that_nobody_bends() -> None:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for before, after in zip(node.values, node.values[1:], strict=False):
                    if not isinstance(before, ast.FormattedValue) or _is_bound(before.value):
                        continue
                    text = after.value if isinstance(after, ast.Constant) else ""
                    if NOUNS.match(str(text)):
                        found.append(f"{file.name}:{node.lineno}")
    assert found == []


def _is_bound(value: ast.expr) -> bool:
    """Whether it is a constant of ours: a limit, never one."""
    name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    return name.strip("_").isupper() or name == "limit"
