"""Nothing of a stranger's text reaches a terminal unescaped, or a command to copy unquoted.

Read from the source; that it holds for whole commands over hostile names: `test_hostile_names.py`.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from devml_git import hook, mergedriver
from devml_git.errors import Refused
from devml_git.escaping import pathspec, quoted, shown, shown_json, shown_lines
from devml_git.output import Output
from tests.test_layout import TREES
from tests.world import run

HOSTILE = (
    "\x00", "\x07", "\x08", "\t", "\n", "\r", "\x1b[2J", "\x1b]52;c;AAAA\x07", "\x7f", "\x9b31m", "\x85",
    "\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\u202e", "\u2066", "\u2069", "\udc9b", "\ud800",
)  # fmt: skip
RAW = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
NAMES = (
    "plain.pt", "a b", "a'b", 'a"b', "$HOME", "`id`", "!!", "a!b'\x1b", "~", "=ls", "-x", "*", "a;b", "a\\b",
    "a\\\x1b0", "\x1b]52;c;AAAA\x07", "tab\there", "line\nhere", "\x9b31m", "\udcff1", "\u202ename", "é☃",
    "x\x1b\x37", "[link=file:///x]a[/link]", "",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_control_characters_are_escaped(text: str) -> None:
    name = f"a{text}b"
    for safe in (shown(name), shown_lines(name), quoted(name)):
        assert not RAW.search(safe)
    assert not RAW.search(shown_json(json.dumps({name: 1}, ensure_ascii=False)))
    assert json.loads(shown_json(json.dumps({name: 1}, ensure_ascii=False))) == {name: 1}


def test_shown_twice_is_shown_once() -> None:
    for text in (*HOSTILE, *NAMES):
        assert shown(shown(text)) == shown(text)


def test_indented_list_stays_on_lines_and_no_line_is_forged() -> None:
    assert shown_lines("these:\n  a\n  b\nhint: forged") == "these:\n  a\n  b\\nhint: forged"


def test_error_is_fit_to_be_shown_wherever_it_ends_up() -> None:
    e = Refused("a\x1b[2Jb", hint="c\u202ed")
    assert (str(e), e.message, e.hint) == ("a\\x1b[2Jb", "a\\x1b[2Jb", "c\\u202ed")


@pytest.mark.parametrize("shell", [s for s in ("bash", "zsh", "ksh") if shutil.which(s)])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_quoted_name_means_itself_to_the_shell(shell: str, name: str) -> None:
    command = f"printf %s {quoted(name)}"
    assert not RAW.search(command)
    got = subprocess.run([shell, "-c", command], capture_output=True, check=True).stdout
    assert got == os.fsencode(f"./{name}" if name.startswith("-") else name)


@pytest.mark.parametrize(
    "name", ["a*b", "[ab]", "a?", ":x", ":(top)a", "a\\\\b", "-x", "a b", "\x1b*"], ids=ascii
)
def test_pathspec_means_that_file_and_no_other(name: str, tmp_path: Path) -> None:
    run("git", "init", "-q", cwd=tmp_path)
    for other in (name, "aab", "a", "x"):
        (tmp_path / other).write_text("x")
    run("bash", "-c", f"git add {pathspec(name)}", cwd=tmp_path)
    assert run("git", "ls-files", "-z", cwd=tmp_path).out == f"{name}\0"


def test_last_doors_escape_what_nobody_has_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    name = "".join(HOSTILE)
    hook._say([f"a{name}"])
    mergedriver._say(f"a{name}")
    o = Output()
    for say in (
        o.answer,
        o.remark,
        lambda text: o.line([(text, "bold")]),
        lambda text: o.error(text, text, 1, as_json=False),
    ):
        say(f"a{name}")
    o.table([[f"a{name}", "clean"]])
    told = capfd.readouterr()
    assert not RAW.search((told.out + told.err).replace("\n", ""))
    lines = (told.out + told.err).splitlines()
    assert all(line.startswith(("a\\x00", "error: a\\x00", "hint: a\\x00")) for line in lines)
    try:
        raise ValueError(name)
    except ValueError:
        o.trace()
    assert not RAW.search(capfd.readouterr().err.replace("\n", ""))


# -- the source ----------------------------------------------------------------------------------

# Who may print, and what of it is not escaped on the spot
PRINTERS = {"output", "hook", "mergedriver", "textconv"}


def test_only_the_last_doors_print() -> None:
    found = set()
    for module, tree in TREES:
        for node in ast.walk(tree):
            text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            if text in {"sys.stdout", "sys.stderr", "sys.__stderr__", "print", "typer.echo",
                        "typer.secho", "warnings.warn", "traceback.print_exc", "os.write"}:  # fmt: skip
                found.add((module, text))
    assert {(m, t) for m, t in found if m not in PRINTERS} == {
        ("cli.app", "typer.echo"),  # the version
        ("place", "os.write"), ("index", "os.write"),  # files
        ("asking", "sys.stdout"), ("asking", "sys.stderr"),  # JSON for our own process
        ("cli.context", "sys.stderr"),  # is it a terminal
    }  # fmt: skip


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == name]


def test_everything_that_is_printed_was_escaped_on_the_spot() -> None:
    tree = dict(TREES)["output"]
    texts = {ast.unparse(call.args[1]) for call in calls(tree, "_write")}
    assert {t for t in texts if not re.match(r"(shown|shown_lines|shown_json|_json)\(", t)} == {
        "''.join((shown(text, LINE) for text, _ in parts)).rstrip()",
        "captured.get()",  # by rich, of parts that were escaped: only colours are raw
        "f\"{(',' if n else head)}\\n{text}\"",  # of JSON that was escaped
        "']}' if first is not None else f'{head}]}}'",
        "''",
    }


def test_every_f_string_writes_names_one_way() -> None:
    """`{shown(name)!r}` doubles the backslashes that `shown` has written."""
    found = [
        f"{module}:{node.lineno}"
        for module, tree in TREES
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue) and node.conversion == ord("r")
    ]
    assert {f.partition(":")[0] for f in found} <= {"__init__", "reading"}  # `__repr__` and alike


COMMAND = re.compile(r"(?:^|[^\w./-])(?:devml-git|git|dvc|chmod|cd|mv|rm) [^;(),:]*$")
# What a stranger has no hand in: ids of ours, words of our own, settings of this machine
OURS = { "causes: option", "choosing: command",
    "cli.context: _current.command", "cli.hooks: overlooked", "cli.project: note", "cli.rescue: one.id",
    "cli.savepoints: point.commit", "doctor: overlooked", "events: verb", "gitstream: self._what",
    "plumbing.calls: args[0]", "plumbing.objects: decode(out[at:end])", "plumbing.programs: have",
    "plumbing.programs: need", "plumbing.settings: key", "plumbing.settings: default", "rescuing: first.id", "rescuing: more", "permissions: bits", "settling: side",
    "wording: rescue.id", "wording: done.left.id",
}  # fmt: skip
# A constant, or quoted
QUOTED = re.compile(r"[A-Z_]+\Z|__version__|(' '.join\(map\()?(gate\.)?(quoted|pathspec)\b")


def quoted_names(function: ast.AST) -> set[str]:
    """Return the names to which a function assigns what it has quoted."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            pairs = [(node.targets[0], node.value)]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
            found |= {ast.unparse(t) for t, v in pairs if QUOTED.match(ast.unparse(v))}
    return found


def names_in_commands() -> dict[str, str]:
    """Return each value that stands in a command to copy and is not quoted, and where."""
    found = {}
    for module, tree in TREES:
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            known = quoted_names(function)
            for node in (n for n in ast.walk(function) if isinstance(n, ast.JoinedStr)):
                before = ""
                for part in node.values:
                    if isinstance(part, ast.Constant):
                        before += str(part.value)
                        continue
                    value = ast.unparse(part.value)
                    tail = re.split(r" {3}|; ", before)[-1]
                    if COMMAND.search(tail) and not QUOTED.match(value) and value not in known:
                        found[f"{module}: {value}"] = f"{node.lineno}: {tail}"
                    before += "X"
    return found


def test_names_in_commands_to_copy_are_quoted() -> None:
    found = names_in_commands()
    assert {where: text for where, text in found.items() if where not in OURS} == {}
    assert set(found) == OURS, "no longer there: take them off the list"
