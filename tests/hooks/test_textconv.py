"""The diff driver under git itself: people see models and data in words, patches stay patches."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from devml_git import inwords, isolation, kept
from devml_git.inwords import Known, describe, grouped
from tests.tensorfile import safetensors, weights
from tests.world import Project, Ran, devml, run

if TYPE_CHECKING:
    from tests.world import Shelf

MODEL = "models/clf.safetensors"


def see(p: Project, *argv: str) -> str:
    """Return what git shows to people, through a pipe."""
    ran = run("git", "-c", "color.ui=false", *argv, cwd=p.path)
    assert ran.err == ""
    return ran.out


@pytest.fixture
def trained(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """v1: a model of three tensors, data/ and a table; v2: layer.1 and a file of data/ changed."""

    def make() -> Project:
        p: Project = request.getfixturevalue("project")
        p.write(MODEL, weights(1, 2, 3))
        p.write("models/t.csv", "age,city\n1,a\n")
        for name in ("kept", "changed", "gone"):
            p.write(f"data/{name}", name)
        p.commit("v1")
        p.git("tag", "v1")
        p.write(MODEL, weights(1, 5, 3))
        p.write("models/t.csv", "age,town\n1,a\n2,b\n")
        p.write("data/changed", "anew")
        (p.path / "data/gone").unlink()
        p.commit("v2")
        p.git("tag", "v2")
        p.git("log", "-p")  # what it shows is kept
        return p

    project = shelf.copy("trained", make, tmp_path / "project")
    project.differential = False
    return project


@pytest.fixture
def unread(trained: Project) -> Project:
    """`trained`, and nothing was ever shown."""
    (trained.path / ".git/devml/kept.db").unlink()
    return trained


def changed(diff: str) -> list[str]:
    """Return the lines that a diff removes and adds."""
    return [x for x in diff.splitlines() if re.match(r"[-+](?![-+]{2} )", x)]


def without_digests(lines: list[str]) -> list[str]:
    return [re.sub(r"\b[0-9a-f]{12,64}(\.dir)?\b", "#", line) for line in lines]


# -- what people see -----------------------------------------------------------------------------

ASKED = {
    "show": ["show", "v2"],
    "log -p": ["log", "-p", "-1"],
    "diff": ["diff", "v1", "v2"],
    "diff --cached": ["diff", "--cached", "v1"],
    "diff with the worktree": ["diff", "v1"],
    "gitk": ["diff-tree", "-r", "-p", "--textconv", "--no-color", "v1", "v2"],
}


@pytest.mark.parametrize("asked", ASKED)
def test_exactly_the_tensor_that_changed_is_shown(trained: Project, asked: str) -> None:
    shown = see(trained, *ASKED[asked], "--", f"{MODEL}.dvc")
    lines = without_digests(changed(shown))
    assert lines[0].startswith("-md5 #, ")
    assert lines[1].startswith("+md5 #, ")
    assert lines[2:] == [
        "-  layer.1.weight  float32 [2, 2]  #  mean 2  norm 4",
        "+  layer.1.weight  float32 [2, 2]  #  mean 5  norm 10",
    ]
    assert " safetensors: 3 tensors, 12 numbers\n" in shown


def test_directory_is_shown_by_member_and_table_by_column(trained: Project) -> None:
    lines = without_digests(changed(trained.git("show", "v2", "--", "data.dvc").out))
    assert lines == [
        "-md5 #, 15 bytes, 3 files, sha256 #", "-  changed  #  7 B", "-  gone  #  4 B",
        "+md5 #, 8 bytes, 2 files, sha256 #", "+  changed  #  4 B",
    ]  # fmt: skip
    lines = without_digests(changed(trained.git("show", "v2", "--", "models/t.csv.dvc").out))
    assert lines[2:] == ["-  lines: 2", "+  lines: 3", "-  column city", "+  column town"]


def test_image_is_shown_by_its_size(trained: Project) -> None:
    for n in (1, 2):
        Image.new("RGB", (10 * n, 20)).save(trained.path / "models/i.png")
        trained.commit(f"image {n}")
    lines = changed(see(trained, "diff", "HEAD~1"))
    assert lines[2:] == ["-  PNG 10x20 RGB", "+  PNG 20x20 RGB"]


def test_blame_of_the_pointer_is_by_tensor(trained: Project) -> None:
    told = trained.git("blame", "-s", f"{MODEL}.dvc").out.splitlines()
    by = {line.split(")", 1)[1].split()[0]: line.split()[0] for line in told}
    assert trained.head("v1").startswith(by["layer.0.weight"].lstrip("^"))
    assert trained.head("v2").startswith(by["layer.1.weight"])


def test_pipeline_keeps_its_text_and_has_words_below_it(trained: Project) -> None:
    oid = re.search(r"[0-9a-f]{32}", trained.read(f"{MODEL}.dvc"))
    assert oid
    lock = (
        "schema: '2.0'\nstages:\n  train:\n    cmd: python train.py\n    outs:\n"
        f"    - path: {MODEL}\n      hash: md5\n      md5: {oid[0]}\n      size: 348\n"
    )
    text = describe(lock.encode(), Known(trained.path / ".git", trained.path), is_lock=True)
    assert text.decode().startswith(f"{lock}\n{MODEL}\nmd5 {oid[0]}, 348 bytes\nsafetensors: 3 ")


def test_pointer_with_more_to_it_keeps_its_text(trained: Project) -> None:
    file = f"{MODEL}.dvc"
    trained.write(file, trained.read(file) + "desc: the good one\n")
    shown = see(trained, "diff", "-U99", "--", file)
    assert "+desc: the good one" in changed(shown)
    assert re.search(r"\n\+- md5: \w{32}\n", shown)
    assert "\n   layer.1.weight  " in shown


# -- what programs read --------------------------------------------------------------------------


def redirected(p: Project, *argv: str) -> bytes:
    """Return what git writes into a file."""
    place = p.path.parent / "into"
    with place.open("wb") as out:
        subprocess.run(["git", *argv], cwd=p.path, stdout=out, check=True)
    return place.read_bytes()


def piped(p: Project, *argv: str) -> bytes:
    return subprocess.run(["git", *argv], cwd=p.path, capture_output=True, check=True).stdout


PATCHES = {
    "diff into a file": (redirected, ["diff", "v1", "v2"]),
    "lazygit, to stage a hunk": (piped, ["diff", "--color=never", "v1", "v2"]),
    "diff --output": (redirected, ["diff", "v1", "v2", "--output=/dev/stdout"]),
    "diff --binary": (piped, ["-c", "x.y=z", "diff", "--binary", "--color", "v1", "v2"]),
    "diff --no-textconv": (piped, ["diff", "--no-textconv", "v1", "v2"]),
    "show into a file": (redirected, ["show", "--format=", "v2"]),
    "show --no-textconv": (piped, ["show", "--format=", "--no-textconv", "v2"]),
    "format-patch": (piped, ["format-patch", "--stdout", "v1..v2"]),
}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="told by /proc")
@pytest.mark.parametrize("way", PATCHES)
def test_patch_for_a_program_applies(trained: Project, tmp_path: Path, way: str) -> None:
    make, argv = PATCHES[way]
    patch = tmp_path / "patch"
    patch.write_bytes(make(trained, *argv).replace(b"\x1b[m", b""))
    patch.write_bytes(re.sub(rb"\x1b\[\d*m", b"", patch.read_bytes()))
    assert b"layer.1" not in patch.read_bytes()
    trained.git("apply", "-R", "--check", "--index", str(patch))


def test_stash_shown_and_taken_back_as_a_patch(trained: Project, tmp_path: Path) -> None:
    trained.write(MODEL, weights(9, 9, 9))
    trained.devml("snapshot")
    trained.git("stash")
    (tmp_path / "patch").write_bytes(piped(trained, "stash", "show", "-p"))
    trained.git("apply", "--index", str(tmp_path / "patch"))
    trained.devml("checkout")
    assert trained.bytes(MODEL) == weights(9, 9, 9)


def test_hunk_of_a_pointer_is_staged_one_by_one(trained: Project) -> None:
    text = trained.read("data.dvc")
    trained.write("data.dvc", text + "desc: mine\n")
    run("git", "add", "-p", cwd=trained.path, stdin="y\n")
    assert trained.show("", "data.dvc") == text + "desc: mine\n"


def test_other_ways_to_show_a_difference_do_not_fail(trained: Project) -> None:
    file = f"{MODEL}.dvc"
    for argv in (
        ["diff", "--word-diff", "v1"], ["-c", "diff.noprefix=true", "diff", "v1"],
        ["range-diff", "v1..v2", "v1..v2"], ["log", "-p", "--stat", "--follow"],
        ["diff", "--color-words", "-w", "-U0", "v1"], ["log", "-G", "layer", "--oneline"],
        ["show", "-c", "HEAD"], ["diff", "--raw", "-p", "v1"],
    ):  # fmt: skip
        see(trained, *argv, "--", file)


def test_conflict_and_its_merge_are_shown(trained: Project) -> None:
    trained.git("checkout", "-q", "-b", "side", "v1")
    trained.write(MODEL, weights(1, 2, 7))
    trained.commit("side")
    trained.git("checkout", "-q", "main")
    trained.git("merge", "side", check=False)
    assert "++<<<<<<< ours" in see(trained, "diff")
    trained.devml("checkout", "--theirs", "--", MODEL)
    trained.commit("merged")
    shown = trained.git("show").out  # differs from neither side alone: git leaves it out
    assert "Merge: " in shown
    assert "layer.2.weight" in trained.git("show", "-m", "--first-parent").out


# -- what is not here, or not good ---------------------------------------------------------------


def words(p: Project, rev: str = "v2", file: str = f"{MODEL}.dvc") -> str:
    """Return what git shows of a pointer."""
    ran = p.git("cat-file", "--textconv", f"{rev}:{file}")
    assert ran.err == ""
    return ran.out


def test_content_that_comes_later_is_shown_then(unread: Project) -> None:
    place = unread.object(f"{MODEL}.dvc")
    aside = place.rename(place.with_suffix(".aside"))
    assert words(unread).endswith("\ncontent is not here: devml-git fetch\n")
    aside.rename(place)
    assert "layer.1.weight" in words(unread)


def test_corrupt_content_is_not_described(unread: Project) -> None:
    place = unread.object(f"{MODEL}.dvc")
    place.chmod(0o644)
    good = place.read_bytes()
    place.write_bytes(good[:-1] + b"\xff")
    assert "content is corrupt in the cache: devml-git verify --all --repair" in words(unread)
    aside = unread.cache.parents[1] / "quarantine"
    aside.mkdir()
    place.rename(aside / f"{place.parent.name}{place.name}.1.a")
    assert "content was corrupt and is set aside: devml-git fetch --all" in words(unread)
    place.write_bytes(good)
    assert "layer.1.weight" in words(unread)


def test_what_was_described_once_is_not_read_again(trained: Project) -> None:
    before = words(trained)
    trained.object(f"{MODEL}.dvc").unlink()
    assert words(trained) == before


@pytest.mark.parametrize("how", ["garbage", "another version", "damaged row", "directory"])
def test_store_that_is_broken_costs_nothing_but_time(trained: Project, how: str) -> None:
    import sqlite3

    before = words(trained)
    store = trained.path / ".git/devml/kept.db"
    if how == "garbage":
        store.write_bytes(os.urandom(5000))
    elif how == "directory":
        store.unlink()
        store.mkdir()
    else:
        with sqlite3.connect(store) as db:
            spoil = "PRAGMA user_version=99" if how == "another version" else (
                "UPDATE kept SET data=x'789c00'"
            )  # fmt: skip
            db.execute(spoil)
        db.close()
    assert words(trained) == before
    assert words(trained) == before


def test_store_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 10_000)
    store = kept.Kept(tmp_path)
    for n in range(60):
        store.put(str(n), os.urandom(400))
    here = [n for n in range(60) if store.get(str(n)) is not None]
    assert here == list(range(here[0], 60))
    assert 5 < len(here) < 25
    store.put("large", os.urandom(5000))
    assert store.get("large") is None


def test_large_content_is_looked_at_by_header_only(
    unread: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inwords, "LARGE", 10)
    known = Known(unread.path / ".git", unread.path)
    text = unread.bytes(f"{MODEL}.dvc")
    shown = describe(text, known, is_lock=False).decode()
    assert "names and shapes only" in shown
    assert "  layer.1.weight  float32 [2, 2]\n" in shown
    monkeypatch.undo()
    assert "norm 10" in describe(text, known, is_lock=False).decode()


def test_huge_model_is_shown_in_groups() -> None:
    names = [f"encoder.layer.{i}.{part}.weight" for i in range(90) for part in ("q", "k", "v", "o")]
    found = grouped(names, "[./]")
    assert len(found) == 90
    assert found["encoder.layer.7.*"] == [28, 29, 30, 31]
    flat = [f"tensor{i}" for i in range(5000)]
    assert grouped(flat, "[./]") == {"*": list(range(5000))}
    assert list(grouped(flat[:300], "[./]")) == flat[:300]


def test_change_inside_a_group_shows(trained: Project) -> None:
    for n in (1, 2):
        many = {f"b.{i}.{p}": np.full(1, i, np.float32) for i in range(200) for p in "wv"}
        many["b.7.w"] = np.full(1, -n, np.float32)
        trained.write(MODEL, safetensors(many))
        trained.commit(f"many {n}")
    lines = without_digests(changed(trained.git("show", "--", f"{MODEL}.dvc").out))
    assert lines[2:] == [
        "-  b.7.*  2 tensors, float32  #  norm 7.0711",
        "+  b.7.*  2 tensors, float32  #  norm 7.2801",
    ]


def test_hostile_names_cannot_reach_the_terminal(trained: Project) -> None:
    evil = "a\x1b[2Jb\nc\u202ed\r"
    one = np.zeros(1, np.float32)
    trained.write(MODEL, safetensors({evil: one}, {evil: evil}))
    trained.commit("evil")
    shown = words(trained, "HEAD")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", shown)
    assert len(shown.splitlines()) == 5
    assert "a\\x1b[2Jb\\nc\\u202ed\\r: a\\x1b" in shown


TEXTS = {
    "empty": b"",
    "binary": bytes(range(256)) * 10,
    "no pointer": b"hello: world\n",
    "yaml bomb": b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nouts: [*c,*c]\n",
    "deep": b"outs: " + b"[" * 5000,
    "escape from the workspace": b"outs:\n- md5: " + b"a" * 32 + b"\n  hash: md5\n  path: ../../../../../../../../../../../../../../../../../../../../etc/passwd\n",
    "no oid": b"outs:\n- md5: ../../../../etc/passwd\n  size: 3\n  hash: md5\n  path: x\n",
    "markers": b"<<<<<<< ours\nouts:\n=======\n>>>>>>> theirs\n",
    "huge": b"# x\n" * 5_000_000,
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_what_is_no_pointer_is_shown_as_it_is(trained: Project, kind: str) -> None:
    trained.write("odd.dvc", TEXTS[kind])
    argv = isolation.command("textconv", "odd.dvc", ".git")
    done = subprocess.run(argv, cwd=trained.path, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, TEXTS[kind], b"")


def test_model_that_is_broken_is_told_as_such(trained: Project) -> None:
    trained.write(MODEL, weights(1, 2, 3)[:-8])
    trained.commit("cut")
    assert "no model that can be read: " in words(trained, "HEAD")


# -- where git runs it ---------------------------------------------------------------------------


def test_linked_worktree_and_subdirectory_show_the_same(trained: Project, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    trained.git("worktree", "add", "-q", str(linked), "v2")
    (linked / "sub").mkdir()
    what = ["show", "v2", "--", f":/{MODEL}.dvc"]
    expected = trained.git(*what).out
    assert "layer.1.weight" in expected
    for place in (linked, linked / "sub", trained.path / "models"):
        (trained.path / ".git/devml/kept.db").unlink()
        ran = run("git", *what, cwd=place)
        assert (ran.out, ran.err) == (expected, "")


def test_project_in_a_subdirectory_has_its_own_cache(tmp_path: Path) -> None:
    top = tmp_path / "mono"
    (top / "sub").mkdir(parents=True)
    run("git", "init", "-q", cwd=top)
    assert devml("init", "--subdir", "--track", "models/**", cwd=top / "sub").status == 0
    place = top / "sub" / MODEL
    place.parent.mkdir()
    place.write_bytes(weights(4))
    run("git", "add", "-A", cwd=top)
    run("git", "commit", "-qm", "one", cwd=top)
    assert "layer.0.weight  float32" in run("git", "show", "--", "*.dvc", cwd=top).out


GONE = {
    "no Python": lambda p: p.git("config", "devml.python", "/nowhere/python"),
    "no package": lambda p: p.git("config", "devml.python", str(no_package(p))),
    "never set up": lambda p: p.git("config", "--unset", "diff.devml.textconv"),
    "hooks uninstall": lambda p: p.devml("hooks", "uninstall"),
}


def no_package(p: Project) -> Path:
    """Return a Python that has nothing installed."""
    place = p.path.parent / "python"
    place.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    place.chmod(0o755)
    return place


@pytest.mark.parametrize("how", GONE)
def test_without_devml_git_the_text_is_shown(trained: Project, how: str) -> None:
    GONE[how](trained)
    ran: Ran = trained.git("show", "v2", "--", f"{MODEL}.dvc")
    assert ran.err == ""
    words = ["- md5:", "      md5:", "      sha256:"]
    expected = [f"{sign}{word}" for word in words for sign in "-+"]
    assert sorted(x[: x.index(":") + 1] for x in changed(ran.out)) == sorted(expected)


def test_bare_repository_shows_what_it_can(trained: Project, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    run("git", "clone", "-q", "--bare", str(trained.path), str(bare), cwd=tmp_path)
    for key in ("diff.devml.textconv", "devml.python"):
        run("git", "config", key, trained.git("config", key).out.rstrip("\n"), cwd=bare)
    (bare / "info").mkdir(exist_ok=True)
    (bare / "info/attributes").write_text("*.dvc diff=devml\n")
    ran = run("git", "show", "v2", "--", f"{MODEL}.dvc", cwd=bare)
    assert " content is not here: devml-git fetch\n" in ran.out
    assert ran.err == ""


# -- registration --------------------------------------------------------------------------------


def test_doctor_names_what_the_diff_driver_lacks_and_init_mends_it(project: Project) -> None:
    def found() -> list[str]:
        rows = devml("doctor", "--json", cwd=project.path).json["findings"]
        return [r["text"] for r in rows if r["subject"] == "diff driver"]

    assert found() == ["devml"]
    run("git", "config", "--unset", "diff.devml.textconv", cwd=project.path)
    assert found() == ["git's configuration does not name it"]
    (project.path / ".gitattributes").write_text("*.dvc merge=devml\n")
    assert found()[1] == ".gitattributes lacks: *.dvc diff=devml, dvc.lock diff=devml"
    run("git", "add", "-A", cwd=project.path)
    devml("init", cwd=project.path)
    assert found() == ["devml"]
    text = (project.path / ".gitattributes").read_text()
    assert text == "*.dvc merge=devml\n*.dvc diff=devml\ndvc.lock merge=devml diff=devml\n"


def test_search_for_a_hash_finds_it(trained: Project) -> None:
    oid = trained.object(f"{MODEL}.dvc")
    name = oid.parent.name + oid.name
    assert trained.git("log", "--format=%s", f"-S{name}").out == "v2\n"


def test_content_that_inflates_is_looked_at_by_header_only(
    unread: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, zeros=np.zeros(100_000))
    unread.write("models/bomb.npz", packed.getvalue())
    unread.commit("bomb")
    monkeypatch.setattr(inwords, "LARGE", 100_000)
    known = Known(unread.path / ".git", unread.path)
    text = unread.bytes("models/bomb.npz.dvc")
    assert "names and shapes only" in describe(text, known, is_lock=False).decode()
    assert not known.whole
    monkeypatch.undo()
    assert "norm 0" in describe(text, known, is_lock=False).decode()


@pytest.mark.parametrize("lines", [20_000, 60_000])
def test_pointer_that_takes_long_to_read_is_shown_as_it_is(tmp_path: Path, lines: int) -> None:
    style = (
        "- {path: aaaaaaaa, md5: bbbbbb}\n"
        if lines == 20_000
        else "- path: a\n  md5: " + "0" * 32 + "\n"
    )
    text = ("outs:\n" + style * lines).encode()
    began = time.monotonic()
    assert describe(text, Known(tmp_path, tmp_path), is_lock=False) == text
    assert time.monotonic() - began < 2
