"""Choosing commits by their metrics and parameters: names, `--where` expressions, `--best`.

An expression compares names with numbers or texts, joined by `and`, `or`, `not` and parentheses.
It is parsed here and nothing of it is ever executed.
"""

from __future__ import annotations

import fnmatch
import heapq
import operator
import re
from typing import TYPE_CHECKING, Any

from devml_git.amounts import is_number
from devml_git.errors import UsageError
from devml_git.gate import quoted, shown
from devml_git.measures import better

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from devml_git.changing import Commit
    from devml_git.config import Config
    from devml_git.measures import Measures

_LONGEST = 2000  # characters of an expression
_DEEPEST = 50  # parentheses and nots
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))"
    r"|(?P<name>`[^`]+`|(?:[^\W\d]|\"[^\"]*\"(?=[.]))[\w./:@*-]*(?:\"[^\"]*\"[\w./:@*-]*)*)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<mark>[<>=!]=|[<>()=]))"
)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "==": operator.eq, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip
_TURNED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_WORDS = {"true": True, "false": False}
_HINT = "--where \"accuracy > 0.9 and not arch == 'mlp'\""


class Named:
    """A metric or parameter by its name: a key, whole or its last part, or FILE:KEY; `*` as a glob.

    `seen` is whether any commit asked so far had one.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.seen = False
        self._last: tuple[Measures | None, Any] = (None, None)

    def value(self, measures: Measures) -> Any:  # noqa: ANN401
        """Return its value in a commit, None where there is none.

        Metrics come before parameters, a whole key before the last part of one. Raises UsageError
        where it means several.
        """
        if self._last[0] is not measures:
            place = self.place(measures)
            table = {**measures.params, **measures.metrics}
            self._last = (measures, None if place is None else table[place[0]][place[1]])
        return self._last[1]

    def place(self, measures: Measures) -> tuple[str, str] | None:
        """Return the file and key that it means in a commit."""
        for tables in (measures.metrics, measures.params):
            for fits in (self._is, self._ends):
                found = [(f, k) for f, keys in tables.items() for k in keys if fits(f, k)]
                if len(found) > 1:
                    names = ", ".join(shown(f"{f}:{k}") for f, k in found[:4])
                    raise UsageError(f"'{shown(self.text)}' means several: {names}",
                                     hint=f"name one as {quoted(':'.join(found[0]))}")  # fmt: skip
                if found:
                    self.seen = True
                    return found[0]
        return None

    def _is(self, file: str, key: str) -> bool:
        return self.text in {key, f"{file}:{key}"} or (
            "*" in self.text and fnmatch.fnmatchcase(key, self.text)
        )

    def _ends(self, file: str, key: str) -> bool:
        del file
        return key.endswith(f".{self.text}")


class Where:
    """A `--where` expression. Raises UsageError for one that cannot be read."""

    def __init__(self, text: str) -> None:
        self.names: list[Named] = []
        self._tokens = _tokens(text)
        self._text = text
        self._test = self._any(0)
        if self._tokens:
            raise self._wrong(f"'{self._tokens[0][1]}' is too much")

    def __call__(self, measures: Measures) -> bool:
        """Whether a commit's metrics and parameters are so. What it lacks compares with nothing."""
        return self._test(measures)

    def among(self, commits: Iterable[Commit]) -> Iterator[Commit]:
        """Yield the commits of which it holds."""
        return (c for c in commits if self(c.measures))

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"--where '{shown(self._text)}': {shown(why)}", hint=_HINT)

    def _next(self, *words: str) -> str | None:
        """Take the next token if it is one of these."""
        if self._tokens and self._tokens[0][1].lower() in words and self._tokens[0][0] != "text":
            return self._tokens.pop(0)[1].lower()
        return None

    def _any(self, depth: int) -> Callable[[Measures], bool]:
        tests = [self._all(depth)]
        while self._next("or"):
            tests.append(self._all(depth))
        return tests[0] if len(tests) == 1 else lambda m: any(test(m) for test in tests)

    def _all(self, depth: int) -> Callable[[Measures], bool]:
        tests = [self._one(depth)]
        while self._next("and"):
            tests.append(self._one(depth))
        return tests[0] if len(tests) == 1 else lambda m: all(test(m) for test in tests)

    def _one(self, depth: int) -> Callable[[Measures], bool]:
        if depth > _DEEPEST:
            raise self._wrong("nested too deep")
        if self._next("not"):
            test = self._one(depth + 1)
            return lambda m: not test(m)
        if self._next("("):
            test = self._any(depth + 1)
            if not self._next(")"):
                raise self._wrong("a parenthesis is not closed")
            return test
        return self._comparison()

    def _comparison(self) -> Callable[[Measures], bool]:
        left = self._operand()
        mark = self._next(*_OPERATORS)
        if mark is None:
            raise self._wrong("a comparison is missing: one of > >= < <= == !=")
        right = self._operand()
        left, right = _key(left, right), _key(right, left)
        if left[0] != "name":
            left, right, mark = right, left, _TURNED.get(mark, mark)
        if left[0] != "name":
            raise self._wrong("compares two values: one side is to be a metric or parameter")
        name = Named(left[1])
        self.names.append(name)
        compare, wanted = _OPERATORS[mark], _literal(*right)
        return lambda m: _holds(name.value(m), compare, wanted)

    def _operand(self) -> tuple[str, str]:
        if not self._tokens or self._tokens[0][0] == "mark":
            raise self._wrong("something to compare is missing")
        kind, text = self._tokens.pop(0)
        return kind, text.strip("`") if kind == "name" else text


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None or len(text) > _LONGEST:
            why = "too long" if token else f"cannot be read from '{text[at:].strip()[:20]}' on"
            raise UsageError(f"--where '{shown(text)}': {shown(why)}", hint=_HINT)
        found.append((str(token.lastgroup), token[str(token.lastgroup)]))
        at = token.end()
    return found


def _key(operand: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
    """A key that has dots in it is a name as `log` prints it, in double quotes: `"a.b" > 1`."""
    quoted = operand[0] == "text" and operand[1].startswith('"')
    return ("name", operand[1]) if quoted and other[0] == "number" else operand


def _literal(kind: str, text: str) -> Any:  # noqa: ANN401
    if kind == "number":
        return float(text)
    return text[1:-1] if kind == "text" else _WORDS.get(text.lower(), text)


def _holds(value: Any, compare: Callable[[Any, Any], Any], wanted: Any) -> bool:  # noqa: ANN401
    if value is None:
        return False
    if is_number(value) and is_number(wanted):
        return bool(compare(value, wanted))
    if compare not in {operator.eq, operator.ne}:
        return False
    same = type(value) is type(wanted) and value == wanted
    return same is (compare is operator.eq)


# -- best ----------------------------------------------------------------------------------------


def direction(config: Config, name: Named, measures: Measures) -> str | None:
    """Return which way a name is better by the configuration, as far as this commit tells."""
    place = name.place(measures)
    return None if place is None else better(config, *place)


def best(
    commits: Iterable[Commit], name: Named, *, higher: bool | None, config: Config, number: int
) -> list[Commit]:
    """Return the commits that brought the best values of a metric, the best first.

    A commit that has its first parent's value did not bring it. `higher`: whether more is better
    (None: as configured). Raises UsageError where that is not known.
    """
    way = higher

    def ranked() -> Iterable[tuple[float, int, Commit]]:
        nonlocal way
        for n, commit in enumerate(commits):
            value = name.value(commit.measures)
            if not is_number(value) or not _brought(commit, name):
                continue
            if way is None:
                said = direction(config, name, commit.measures)
                if said is None:
                    raise _no_direction(name)
                way = said == "higher"
            yield (value if way else -value), -n, commit

    chosen: Sequence[tuple[float, int, Commit]] = heapq.nlargest(number, ranked())
    return [commit for _, _, commit in chosen]


def _brought(commit: Commit, name: Named) -> bool:
    place = name.place(commit.measures)
    if commit.cut or not commit.entry.parents:
        return True
    return any((m.file, m.key) == place for m in (*commit.metrics, *commit.params))


def _no_direction(name: Named) -> UsageError:
    return UsageError(
        f"nothing says which way {shown(name.text)} is better",
        hint=f'--max or --min, or in devml.toml: [better]   {shown(name.text)} = "higher"',
    )
