"""Every command and hook over a repository whose every name is hostile: nothing raw is shown.

Files, directories, artifacts, branches, tags, remotes of git and DVC, metrics, stages, tensors,
subjects, authors and patterns hold C0, ESC (OSC 52), C1, DEL, bidi, newlines, markup, quotes, and
bytes that are no UTF-8, as far as git and the file system allow each.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import devml_git
from devml_git.errors import DevmlError
from tests.tensorfile import safetensors
from tests.test_docs import commands, help_of
from tests.test_escaping import RAW
from tests.test_output import shown
from tests.world import Project, Shelf, devml, run

# What may be anywhere, what may be in a path, what may be in a ref (git-check-ref-format(1)),
# and what the gate lets an artifact be called
TEXT = "\x1b]52;c;QUJD\x07\x1b[31m\x9b31m\x7f\u202e\u2028\u200f\r\n  x [link=file:///x]a[/link] <b>'\"`$(id)"
PATH = TEXT.replace("/", "") + "\udcff"
REF = "r\x9b31m\u202e\u2028\u200f'\"`$(id)<b>\udcff"
ARTIFACT = "a [link=file:x]a[b]\u200f <b>'\"`$(id)"
EVENTS = (
    ("pre-commit",), ("post-commit",), ("post-checkout", "HEAD~1", "HEAD", "1"), ("post-merge", "0"),
    ("post-rewrite", "amend"), ("post-applypatch",), ("post-index-change", "1", "0"), ("pre-push", TEXT, TEXT),
)  # fmt: skip


def git(project: Project, *args: str, check: bool = False, **env: str) -> str:
    """Run git; return what devml-git said through it: git shows names as it likes."""
    done = run("git", *args, cwd=project.path, check=check, env=env)
    return "\n".join(re.findall(r"(?s)devml-git: .*", done.err))


def save(project: Project, subject: str) -> None:
    run("git", "add", "-A", cwd=project.path)
    author = {"GIT_AUTHOR_NAME": f"A{TEXT}", "GIT_AUTHOR_EMAIL": "a\x9b@\u202ex"}
    run("git", "commit", "-q", "--allow-empty", "-m", subject, cwd=project.path, env=author)


def fill(project: Project) -> Project:
    """Commit twice, with hostile names that a sound project can have."""
    project.differential = False
    rules = project.read("devml.toml").replace(
        "track = [", f"track = [{json.dumps(f'{ARTIFACT}/*')}, ", 1
    )
    project.write("devml.toml", rules + f'\n[better]\n{json.dumps(TEXT)} = "higher"\n')
    project.write(f"{PATH}/{PATH}", "git's own\n")
    for n in (1, 2):
        project.write(f"{PATH}.py", f"{n}\n")
        project.write(f"models/{ARTIFACT}.safetensors", safetensors(
            {TEXT: np.full((2, 2), n, np.float32)}, {TEXT: f"{TEXT}{n}"}))  # fmt: skip
        project.write(f"data/{ARTIFACT}/{ARTIFACT}", f"{n}")
        project.write(f"models/{ARTIFACT}.csv", f"{TEXT!r},b\n{n},2\n")
        project.write("metrics.json", json.dumps({TEXT: n, "a": f"{TEXT}{n}"}))
        project.write("params.yaml", json.dumps({TEXT: {TEXT: n}}))
        save(project, f"{n} {TEXT}")
        run("git", "tag", f"{REF}{n}", cwd=project.path)
    run("git", "branch", f"{REF}b", cwd=project.path)
    run("git", "config", "remote.x\x1b]52;c;QUJD\x07\u202e.url", f"../{PATH}", cwd=project.path)
    return project


def broken_pointers(project: Project) -> None:
    """Row 11: pointers that cannot be followed, whose names a terminal would obey."""
    for n, text in enumerate(
        ("outs: [", "outs:\n- md5: 'x'\n  path: y\n", "<<<<<<< a\n=======\n>>>>>>> b\n")
    ):
        project.write(f"models/{n}{PATH}.dvc", text)
    project.write(f"{PATH}.d/dvc.lock", "stages: [")


def content_with_controls(project: Project) -> None:
    project.write(f"models/{PATH}.pt", "x")
    project.write(f"data/{PATH}/{PATH}", "x")
    project.write(f"models/{ARTIFACT}.safetensors", b"not one")


def large_and_forced(project: Project) -> None:
    project.write("devml.toml", 'large-file = "10B"\n' + project.read("devml.toml"))
    project.write(f"large{PATH}", "x" * 100)
    project.write(f"models/{ARTIFACT}.bin", "x")
    run("git", "add", "-f", f"models/{ARTIFACT}.bin", f"large{PATH}", cwd=project.path)


def remotes(project: Project) -> None:
    shown = TEXT.replace("\r", "").replace("\n", "").replace('"', "").replace("'", "")
    project.write(".dvc/config", f"[core]\n    remote = x\n['remote \"x{shown}\"']\n    url = /nowhere/{shown}\n"
                  f"    password = {shown}\n['remote \"x\"']\n    url = {shown}://u:p@x\n")  # fmt: skip


def settings(project: Project) -> None:
    project.write(
        "devml.toml", f"{json.dumps(TEXT)} = 1\n[hooks]\n{json.dumps(TEXT)} = {json.dumps(TEXT)}\n"
    )


def settings_of_dvc(project: Project) -> None:
    project.write(".dvc/config", f"[core\n{TEXT}")


def policy(project: Project) -> None:
    project.write("devml.toml", f"[hooks]\npre-commit = {json.dumps(TEXT)}\n")


def rules(project: Project) -> None:
    project.write("devml.toml", f"track = [{json.dumps(TEXT)}, {json.dumps(PATH[:-1] + '/**')}]\n")


def stages(project: Project) -> None:
    out = f"models/{ARTIFACT}.out"
    stage = {"cmd": TEXT, "outs": [out], "deps": [TEXT], "metrics": [TEXT]}
    project.write(
        "dvc.yaml", json.dumps({"stages": {TEXT: stage, "ok": {"cmd": TEXT, "outs": [out]}}})
    )
    lock = {"cmd": TEXT, "outs": [{"path": out, "md5": "a" * 32, "size": 1}]}
    project.write("dvc.lock", json.dumps({"schema": "2.0", "stages": {TEXT: lock}}))


def ignored(project: Project) -> None:
    project.write(".dvcignore", f"{TEXT}\n[\n")
    project.write(".gitattributes", f"{TEXT} merge=x\n")
    project.write("metrics.json", "{" + TEXT)


def sound(project: Project) -> None:
    project.write(f"models/{ARTIFACT}.csv", f"{TEXT!r},b\n3,4\n")
    project.write(f"models/{ARTIFACT}.new.pt", "new")


WORLDS = (
    sound, broken_pointers, content_with_controls, large_and_forced, remotes, settings, settings_of_dvc,
    policy, rules, stages, ignored,
)  # fmt: skip


@pytest.fixture
def hostile(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    project = shelf.copy(
        "hostile", lambda: fill(request.getfixturevalue("project")), tmp_path / "hostile"
    )
    project.differential = False
    return project


def lines() -> Iterator[tuple[str, ...]]:
    """Yield command lines of every command: what looks first, what changes then."""
    model, first = f"models/{ARTIFACT}.safetensors", f"{REF}1"
    yield from [
        ("status",), ("status", "-v"), ("doctor",), ("log",), ("log", "--oneline", "--graph"),
        ("log", "--columns", TEXT), ("log", "--author", TEXT), ("log", "--where", f"{TEXT} > 1"),
        ("log", "--best", TEXT), ("log", TEXT), ("log", REF), ("log", "--", model), ("log", "--", PATH), ("log", "--snapshots"),
        ("show",), ("show", first), ("show", TEXT), ("show", "HEAD", "--", TEXT), ("show", "HEAD", "--", f"{PATH}.py"),
        ("diff",), ("diff", "HEAD~1", "HEAD"), ("diff", "HEAD~1", "HEAD", "--all"), ("diff", TEXT), ("diff", "--", TEXT),
        ("blame", "--", model), ("blame", "--", TEXT), ("blame", TEXT, "--", model), ("verify",), ("verify", TEXT),
        ("verify", "--all", "--remote"), ("undo", "--list"), ("undo", TEXT), ("rescue", "list"), ("rescue", "show", TEXT),
        ("hooks", "status"), ("hooks", "run", TEXT), ("demo", PATH), ("clone", TEXT), ("clone", f"file:///{TEXT}"),
        ("trust", TEXT), ("fetch", TEXT), ("push", TEXT), ("push", f"x{TEXT}"), ("pull", f"x{TEXT}"), ("snapshots", "drop", TEXT),
        ("rescue", "drop", TEXT), ("rescue", "restore", TEXT), (TEXT,), ("status", f"--{TEXT}"), ("hooks", TEXT),
        ("log", "-n", TEXT), ("rescue", "drop", "--older-than", TEXT), ("snapshot", TEXT), ("track", TEXT), ("track", f"{PATH}.py"),
        ("untrack", TEXT), ("untrack", model), ("checkout", TEXT), ("checkout", "--", TEXT), ("checkout", "--ours", "--", TEXT),
        ("checkout", "--to", PATH, first), ("snapshot", "-m", TEXT), ("snapshot",), ("log", "--snapshots"), ("trust",),
        ("fetch",), ("commit", "-q", "--dry-run", "--", TEXT), ("commit", "-qm", TEXT), ("checkout", "-q", first),
        ("checkout", "--force", "-q", f"{REF}b"), ("rescue", "list"), ("undo",), ("init", "--track", TEXT), ("hooks", "uninstall"),
        ("hooks", "install"), ("push",), ("status",), ("doctor",),
    ]  # fmt: skip


def test_every_command_is_among_them() -> None:
    groups = {c[0] for c in commands() if len(c) > 1}
    typed = {line[: 2 if line[0] in groups else 1] for line in lines()}
    assert set(commands()) <= typed


def has_json() -> set[tuple[str, ...]]:
    return {c for c in commands() if "--json" in help_of(*c)}


def judge(what: object, *texts: str) -> None:
    for text in texts:
        raw = RAW.findall(text.replace("\n", ""))
        assert raw == [], (what, raw, text)
        assert "Traceback" not in text, (what, text)
        assert "internal error" not in text, (what, text)
        if text[:1] not in "{[":  # JSON doubles them itself
            assert not re.search(r"\\\\(x1b|x9b|u202e)", text), (
                f"doubled backslashes: {what}: {text}"
            )


@pytest.mark.parametrize(
    "spoil",
    [*WORLDS[:5], *(pytest.param(world, marks=pytest.mark.long) for world in WORLDS[5:])],
    ids=[w.__name__ for w in WORLDS],
)
def test_no_command_and_no_hook_shows_anything_raw(
    spoil: Any, hostile: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(hostile)
    with_json = has_json()
    for args in EVENTS:
        pushed = f"refs/heads/{REF}b {hostile.head()} refs/heads/{TEXT!r} {'0' * 40}\n"
        monkeypatch.setattr(sys, "stdin", io.StringIO(pushed))
        ran = devml("hooks", "run", args[0], "--", *args[1:], cwd=hostile.path)
        judge(args, ran.out, ran.err)
        for name in ("DEVML_GIT_ACTIVE", "DEVML_GIT_PARENT"):  # a hook's process ends here
            monkeypatch.delenv(name, raising=False)
    for line in lines():
        words = line[:2] if line[:2] in with_json else line[:1]
        ran = devml(*line, cwd=hostile.path)
        judge(line, ran.out, ran.err)
        if words in with_json:
            ran = devml(*words, "--json", *line[len(words) :], cwd=hostile.path)
            judge((*line, "--json"), ran.out, ran.err)
            told = ran.out or ran.err.splitlines()[-1]
            assert json.loads(told)["schema"].startswith("devml."), line


@pytest.mark.parametrize("spoil", WORLDS[:5], ids=[w.__name__ for w in WORLDS[:5]])
def test_nothing_raw_is_said_through_git(spoil: Any, hostile: Project) -> None:
    """Real hooks, the merge driver and the diff driver, whoever calls them."""
    model = f"models/{ARTIFACT}.safetensors"
    spoil(hostile)
    said = [git(hostile, "commit", "-qam", TEXT)]
    run("git", "add", "-A", cwd=hostile.path, check=False)
    said += [
        git(hostile, "commit", "-qm", TEXT),
        git(hostile, "commit", "--no-verify", "-qm", TEXT),
    ]
    hostile.write(model, "ours")
    said += [git(hostile, "commit", "--no-verify", "--allow-empty", "-qam", TEXT)]
    said += [git(hostile, "checkout", "-qf", f"{REF}b")]
    hostile.write(model, "theirs")
    said += [git(hostile, "commit", "--allow-empty", "-qam", TEXT)]
    said += [git(hostile, "merge", "-q", "main")]
    said += [git(hostile, "push", "-q", "x\x1b]52;c;QUJD\x07\u202e", "main")]
    judge("hooks", *said)
    assert len([text for text in said if text]) > 2, said
    shown = ("show", "--textconv", "--format=", f"{REF}2", "--", "*.dvc")
    words = run("git", "-c", "core.quotePath=true", *shown, cwd=hostile.path).out
    judge("textconv", words.replace("\t", ""))
    assert spoil is remotes or "\\x1b]52;" in words  # without settings nothing can be read


def test_hint_of_a_broken_pointer_can_be_pasted_into_a_shell(hostile: Project) -> None:
    broken = f"models/b{PATH}.dvc"
    hostile.write(broken, "outs: []\n")
    run("git", "add", "-A", cwd=hostile.path)
    run("git", "commit", "-qm", "broken", "--no-verify", cwd=hostile.path)
    hostile.write(broken, "outs: [")
    (hint,) = re.findall(r"hint: mend it by hand, or: (git .*)\n", run(
        "git", "commit", "-qam", "x", cwd=hostile.path, check=False).err)  # fmt: skip
    run("bash", "-ec", hint, cwd=hostile.path)
    assert hostile.read(broken) == "outs: []\n"


@pytest.mark.parametrize(
    "args",
    [
        ("status", "-v"),
        ("log",),
        ("show",),
        ("diff", "HEAD~1", "HEAD"),
        ("doctor",),
        ("show", TEXT),
    ],
)
def test_on_a_terminal_only_our_colours_are_raw(hostile: Project, args: tuple[str, ...]) -> None:
    broken_pointers(hostile)
    text = shown(
        list(args),
        hostile.path,
        {"NO_COLOR": "", "TERM": "xterm", "PAGER": "cat", "GIT_PAGER": "cat"},
    )
    assert text
    judge(args, re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n"))


def test_python_and_notebook_show_nothing_raw(hostile: Project) -> None:
    with devml_git.Repo(hostile.path) as repo:
        log = repo.log()
        diff = repo.compare("HEAD~1", "HEAD")
        for html in (log._repr_html_(), diff._repr_html_()):
            judge("html", html)
            assert "<b>" not in html
        judge("text", str(log))
        for call in (lambda: repo.load(TEXT), lambda: repo.open(PATH), lambda: repo.log(TEXT)):
            with pytest.raises(DevmlError) as raised:
                call()
            judge("error", str(raised.value))


def test_progress_shows_nothing_raw(hostile: Project) -> None:
    code = ("import time; from devml_git.output import Output; p = Output().progress();\n"
            f"p.start({TEXT!r}, 10); time.sleep(0.8); p.advance(1); time.sleep(0.2); p.finish()")  # fmt: skip
    text = on_a_terminal([sys.executable, "-c", code])
    assert "\\x1b]52" in text
    judge("progress", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", ""))


def on_a_terminal(argv: list[str]) -> str:
    import pty

    pid, fd = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, {**os.environ, "TERM": "xterm", "NO_COLOR": "", "COLUMNS": "300"})
    data = b""
    try:
        while part := os.read(fd, 1 << 16):
            data += part
    except OSError:
        pass
    os.waitpid(pid, 0)
    os.close(fd)
    return data.decode()


def test_clone_of_it_shows_nothing_raw(hostile: Project, tmp_path: Path) -> None:
    broken_pointers(hostile)
    run("git", "add", "-A", cwd=hostile.path)
    run("git", "commit", "-qm", TEXT, "--no-verify", cwd=hostile.path)
    shutil.rmtree(hostile.path / ".git/devml/cache")
    ran = devml("clone", "-q", str(hostile.path), str(tmp_path / "clone"), cwd=tmp_path)
    judge("clone", ran.out, ran.err)
