"""The judge bites: what a mended devml-git no longer does is done here by hand, and is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.hostile import trace, trial
from tests.hostile.arrivals import Visit
from tests.hostile.builder import PAYLOAD, TEMPLATES, Hostile
from tests.hostile.course import Step
from tests.hostile.judge import Break, Judge
from tests.hostile.world import World

SOCKET = "import socket; s = socket.socket(socket.AF_INET, socket.{kind}); s.connect_ex(('127.0.0.1', 9))"
BITES = [
    ("wrote", "python", "open('{root}/victim/made', 'w')"),
    ("wrote", "python", "open('{root}/victim/secret.txt', 'a')"),
    ("wrote", "sh", "cd ..; mkdir ../victim/made"),
    ("wrote", "sh", "ln -s ../../victim out; mkdir out/made"),
    ("wrote", "sh", "echo > mine; mv mine ../../elsewhere/mine"),
    ("wrote", "sh", "cd {root}/home && ln notes.txt more.txt"),
    ("wrote", "sh", "chmod 777 {root}/victim/data"),
    ("wrote", "sh", "rm ../neighbour/notes.txt"),
    ("wrote", "python", "import os; os.chdir('{root}/home'); os.symlink('x', 'made')"),
    ("wrote", "python", "import os; d = os.open('{root}/home', 0); os.mkdir('made', dir_fd=d)"),
    ("wrote", "python", "import threading as t; t.Thread(target=lambda: open('{root}/home/x', 'w')).start()"),
    ("wrote", "python", "import os, sys; os.fork() or (os.chdir('{root}/home'), os.mkdir('made'))"),
    ("wrote", "python", "import os; os.makedirs('{root}/remote/files/md5/ab')"),
    ("read", "python", "open('{root}/home/.ssh/id_rsa').read()"),
    ("read", "python", "import os; os.symlink('../../home', 'h'); open('h/.aws/credentials').read()"),
    ("told", "sh", "cat {root}/victim/secret.txt"),
    ("ran", "sh", "cp /bin/true mine; ./mine"),
    ("ran", "sh", "cp /bin/true git; PATH=.:$PATH; git"),
    ("ran", "sh", "nice true"),
    ("connected", "python", SOCKET.format(kind="SOCK_STREAM")),
    ("connected", "python", SOCKET.format(kind="SOCK_DGRAM")),
    ("large", "python", "x = b'x' * (600 << 20)"),
    ("slow", "python", "import time\nwhile time.process_time() < 60: pass"),
    ("crashed", "python", "1 / 0"),
    ("crashed", "sh", "exit 70"),
    ("crashed", "sh", "kill -SEGV $$"),
    ("printed raw", "sh", "printf 'a\\033[2Jb'"),
    ("printed raw", "python", "print(chr(0x202e))"),
    ("printed raw", "python", "print(chr(0x9b))"),
    ("payload ran", "sh", "echo > {root}/struck/x"),
    ("changed outside", "sh", "echo > {root}/victim/secret.txt"),
    ("leaked", "sh", "cp {root}/home/.netrc cached"),
    ("planted", "sh", f"mkdir -p .git/hooks; echo {PAYLOAD} > .git/hooks/post-merge"),
    ("open", "sh", "mkdir -m 755 -p .git/devml"),
    ("open", "sh", "mkdir .dvc; umask 022; echo > .dvc/config.local"),
]  # fmt: skip
FINE = [
    ("sh", "git init -q; git status; echo x > file; mkdir -p d; mv file d; rm -r d"),
    ("python", "import os, json; os.makedirs('{root}/home/.cache/x'); open('{root}/tmp/x', 'w')"),
    ("python", "import socket; s = socket.socket(socket.AF_UNIX); s.connect_ex('{root}/none')"),
    ("python", "print('\\u00e9\\t\\U0001f600')"),
    ("sh", "echo > /dev/null; cat {root}/nothing; exit 1"),
]


def judged(root: Path, program: str, words: str) -> list[Break]:
    """Run one command as a step of a visit to a plain place; return what is told of it."""
    if why := trace.missing():
        pytest.skip(why)
    world = World(root)
    place = world.work / "mine"
    place.mkdir()
    words = words.replace("{root}", str(world.root))
    argv = (sys.executable, "-c", words) if program == "python" else ("sh", "-c", words)
    step = Step("by hand", argv)
    visit = Visit("mine", place, place, (step,), (), (place,), sends=False)
    template = TEMPLATES["first_upload"]
    judge = Judge(world, template, Hostile(place, world))
    done = trace.traced(list(argv), cwd=place, env=world.env(), log=world.tmp / "trace")
    return [*judge.step(visit, step, done), *judge.end(visit)]


@pytest.mark.parametrize(("kind", "program", "words"), BITES)
def test_what_must_not_be_is_told(kind: str, program: str, words: str, tmp_path: Path) -> None:
    assert kind in {b.kind for b in judged(tmp_path / "w", program, words)}


@pytest.mark.parametrize(("program", "words"), FINE)
def test_what_may_be_is_not_told(program: str, words: str, tmp_path: Path) -> None:
    assert judged(tmp_path / "w", program, words) == []


def test_command_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trace, "WALL", 1)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    assert "hung" in {b.kind for b in judged(tmp_path / "w", "sh", "sleep 30")}


def test_all_templates_are_on_the_list() -> None:
    assert {case.template.kind for case in trial.cases()} >= {"settings", "links", "bombs", "names"}
