"""How amounts are written, everywhere alike: counts with their noun, sizes, numbers."""

from __future__ import annotations

import math

_DIGITS = 6  # that people read of a number
_ENOUGH = 17  # digits tell any two floats apart
_HUGE = 128  # bits of an integer that nobody reads


def is_number(value: object) -> bool:
    """Whether a value is a number that can be compared and subtracted: no flag, no NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not (isinstance(value, float) and math.isnan(value))


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: 1 commit, 2 commits, 12,000 commits."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def human(nbytes: int) -> str:
    """Return a size in bytes as people read it, in powers of ten: 12.3 MB."""
    value = float(nbytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":  # noqa: PLR2004
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def signed_size(nbytes: int) -> str:
    """Return a change of size: +1.2 MB."""
    return f"{'-' if nbytes < 0 else '+'}{human(abs(nbytes))}"


def number(value: float, sign: str = "", digits: int = _DIGITS) -> str:
    """Return a number with six significant digits at most: 0.85 for 0.8500000000000001."""
    if isinstance(value, int):
        return format(value, f"{sign}d") if value.bit_length() < _HUGE else "huge"
    return format(value, f"{sign}.{digits}g")


def numbers_apart(old: float, new: float) -> tuple[str, str]:
    """Return two numbers, with more digits where they would read alike and are not."""
    digits = _DIGITS
    while (texts := (number(old, "", digits), number(new, "", digits)))[0] == texts[1]:
        if digits == _ENOUGH or old == new:
            break
        digits += 1
    return texts
