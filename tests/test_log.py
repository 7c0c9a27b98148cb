"""log: what each commit changed, chosen and followed as a git user would; bad input is told."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from devml_git.changing import Change, Commit, differing, with_moves
from devml_git.choosing import Chosen
from devml_git.config import Config
from devml_git.errors import UsageError
from devml_git.following import Following
from devml_git.gitstream import Entry
from devml_git.likeness import Likeness
from devml_git.measures import Measures
from devml_git.nouns import Pointer
from devml_git.plumbing import Git
from devml_git.selecting import Named, Where
from devml_git.walking import walk
from tests.tensorfile import weights
from tests.world import Project, run

ESC = "\x1b[31m[red]<b>"


def commits(p: Project, *args: str) -> list[dict[str, object]]:
    return p.devml("log", "--json", *args).json["commits"]


def subjects(p: Project, *args: str) -> list[str]:
    return [str(c["subject"]) for c in commits(p, *args)]


def changed(commit: dict[str, object]) -> dict[str, str]:
    return {c["path"]: c["change"] for c in commit["changes"]}  # type: ignore[attr-defined]


@pytest.fixture
def measured(project: Project) -> Project:
    """v1 to v4 with accuracy 0.5, 0.9, 0.7, nan and lr 0.1, 0.1, 0.01, 0.01; only a.pt in v1."""
    project.differential = False
    project.write("devml.toml", project.read("devml.toml") + '[better]\naccuracy = "higher"\n')
    values = [("0.5", 0.1), ("0.9", 0.1), ("0.7", 0.01), ("NaN", 0.01)]
    for n, (accuracy, lr) in enumerate(values, 1):
        project.write(
            "metrics.json", f'{{"val": {{"accuracy": {accuracy}}}, "a.b": {n}, "note": "n{n}"}}'
        )
        project.write("params.yaml", f"lr: {lr}\narch: mlp\n")
        project.write("models/a.pt", "weights" * n)
        project.commit(f"v{n}")
        project.git("tag", f"v{n}")
    return project


# -- what a commit changed -----------------------------------------------------------------------


def test_json_has_what_each_commit_changed_newest_first(models: Project) -> None:
    found = models.devml("log", "--json").json
    assert found["schema"] == "devml.log/v1"
    head = found["commits"][0]
    assert (head["commit"], head["subject"], head["author"]) == (
        models.head(), "v3", "Test <test@example.org>"
    )  # fmt: skip
    assert head["parents"] == [models.head("HEAD~1")]
    assert head["changes"][1] == {
        "path": "models/a.pt", "change": "modified",
        "old": {"oid": oid(models, "v2"), "size": 500}, "new": {"oid": oid(models, "v3"), "size": 500},
    }  # fmt: skip
    assert [c["subject"] for c in found["commits"]] == ["v3", "v2", "v1", "set up"]
    assert changed(found["commits"][2]) == {"data": "added", "models/a.pt": "added"}
    assert changed(found["commits"][3]) == {}


def oid(p: Project, rev: str) -> str:
    return p.show(rev, "models/a.pt.dvc").split("md5: ")[1].split("\n")[0]


def test_text_has_sizes_and_metrics_with_their_change(measured: Project) -> None:
    measured.git("rm", "-q", "models/a.pt.dvc")
    measured.commit("gone")
    lines = measured.devml("log").out.splitlines()
    text = "\n".join(lines)
    assert "    deleted   models/a.pt  28 B" in lines
    assert "    modified  models/a.pt  21 B (+7 B)" in lines
    assert "val.accuracy 0.9 (+0.4, better)" in text
    assert "val.accuracy 0.7 (-0.2, worse)" in text
    assert "val.accuracy 0.7 -> nan" in text
    assert '"a.b" 2 (+1)' in text  # nobody says which way is better
    assert "note n1 -> n2" in text
    assert "    params.yaml  lr 0.1 -> 0.01" in lines


def test_json_holds_what_is_no_number_as_text(measured: Project) -> None:
    (head,) = commits(measured, "-n", "1")
    assert head["metrics"] == {"metrics.json": {"val.accuracy": "NaN", '"a.b"': 4, "note": "n4"}}
    assert head["params"] == {"params.yaml": {"lr": 0.01, "arch": "mlp"}}


def test_a_merge_shows_what_differs_from_each_parent(models: Project) -> None:
    models.git("checkout", "-qb", "side", "v2")
    models.write("models/b.pt", "side")
    models.commit("side")
    models.git("checkout", "-q", "main")
    models.write("models/c.pt", "main")
    models.commit("main")
    models.git("merge", "-q", "side", "-m", "merged")
    merge = commits(models)[0]
    first, second = merge["against"]  # type: ignore[misc]
    assert (first["parent"], second["parent"]) == (models.head("main~1"), models.head("side"))
    assert changed(first) == {"models/b.pt": "added"}
    assert set(changed(second)) == {"data", "models/a.pt", "models/c.pt"}
    assert merge["changes"] == first["changes"]
    text = models.devml("log", "-n", "1").out
    assert f"against {second['parent'][:10]}" in text
    assert "against" not in commits(models, "--first-parent")[0]
    assert subjects(models, "--no-merges")[:2] == ["main", "side"]
    assert subjects(models, "--merges") == ["merged"]


def test_commits_are_those_of_git_log(models: Project) -> None:
    models.git("checkout", "-qb", "side", "v1")
    models.differential = False
    for n in range(3):
        models.git("commit", "-q", "--allow-empty", "-m", f"side {n}", "--author=Ann <ann@x.org>")
    models.git("checkout", "-q", "main")
    models.git("merge", "-q", "side", "-m", "merged", "--no-ff")
    for args in (
        ["--all"], ["v1..main"], ["v1...side"], ["main", "^v2"], ["-n", "2"], ["--first-parent"],
        ["--reverse"], ["--author=ann"], ["--grep=side [01]"], ["--until=2000-01-01"], ["v2"],
        ["--since=2000-01-01"], ["--author=ann", "-n", "1"], ["side", "main"], ["--reverse", "-n", "3"],
        ["v1..v1"], ["-n", "0"], ["main^@"], ["-2"], ["-3", "main"], ["--grep", "-3"],
        ["--max-count=1"], ["--skip", "1", "-n1", "--author=ann"], ["--skip=99"],
        ["--reverse", "--skip=1", "-n", "2"], ["v2..", "--merges"],
    ):  # fmt: skip
        theirs = run("git", "log", "--format=%s", *args, cwd=models.path).out.splitlines()
        assert subjects(models, *args) == theirs, args


def test_snapshots_between_commits_are_no_history(models: Project) -> None:
    models.write("models/a.pt", "epoch 1")
    models.devml("snapshot", "-m", "epoch 1")
    assert "epoch 1" not in subjects(models, "--all")
    assert "epoch 1" in models.devml("log", "--snapshots").out


def test_pipelines_count_what_dvc_caches(project: Project) -> None:
    project.differential = False
    project.write("dvc.yaml", "stages:\n  s:\n    cmd: python t.py\n    deps: [t.py]\n    outs:\n"
                  "    - o.bin\n    - kept.txt: {cache: false}\n    metrics:\n"
                  "    - m.json: {cache: false}\n")  # fmt: skip
    for n in (1, 2):
        code = f"for f in ('o.bin', 'kept.txt', 'm.json'): open(f, 'w').write('{n}')\n"
        project.write("t.py", code)
        project.dvc("repro", "-q")
        project.commit(f"run {n}")
    head, before = commits(project, "-n", "2")
    assert (changed(head), changed(before)) == ({"o.bin": "modified"}, {"o.bin": "added"})
    assert head["metrics"] == {"m.json": {"": 2}}


def test_an_output_that_dvc_yaml_names_is_dvcs_also_where_git_holds_it(project: Project) -> None:
    project.differential = False
    out = (
        "    outs:\n    - path: o.bin\n      md5: 22a1a2931c8370d3aeedd7183606fd7f\n      size: 5\n"
    )
    project.write("dvc.lock", f"schema: '2.0'\nstages:\n  s:\n    cmd: x\n{out}")
    project.write("dvc.yaml", "stages:\n  s:\n    cmd: x\n    outs: [o.bin]\n")
    project.write("o.bin", "12345")
    run("git", "add", "-A", cwd=project.path)
    run("git", "commit", "-qm", "both", "--no-verify", cwd=project.path)
    assert changed(commits(project)[0]) == {"o.bin": "added"}
    project.write("dvc.yaml", "stages: {}\n")
    project.write("dvc.lock", f"schema: '2.0'\nstages:\n  s:\n    cmd: y\n{out}")
    run("git", "commit", "-qam", "unnamed", "--no-verify", cwd=project.path)
    assert changed(commits(project)[0]) == {"o.bin": "deleted"}


def test_a_directory_that_git_held_later_is_dvcs_before(project: Project) -> None:
    project.differential = False
    out = f"    outs:\n    - path: d\n      md5: {'2' * 31}a.dir\n      size: 5\n"
    for n, said in enumerate(("[d]", "[d: {cache: false}]")):
        project.write("dvc.yaml", f"stages:\n  s:\n    cmd: x\n    outs: {said}\n")
        project.write("dvc.lock", f"schema: '2.0'\nstages:\n  s:\n    cmd: x\n{out}")
        if n:
            project.write("d/x.txt", "now in git")
        run("git", "add", "-A", cwd=project.path)
        run("git", "commit", "-qm", said, "--no-verify", cwd=project.path)
    head, before = commits(project, "-n", "2")
    assert (changed(head), changed(before)) == ({"d": "deleted"}, {"d": "added"})


def test_the_users_configuration_of_git_changes_nothing(models: Project) -> None:
    before = models.devml("log", "--json").out
    for key, value in {
        "log.showSignature": "true", "color.ui": "always", "diff.renames": "copies",
        "log.diffMerges": "on", "format.pretty": "oneline", "log.date": "relative",
        "core.quotePath": "true", "log.showRoot": "false", "i18n.logOutputEncoding": "latin1",
    }.items():  # fmt: skip
        run("git", "config", key, value, cwd=models.path)
    assert models.devml("log", "--json").out == before


def test_a_commit_of_very_many_artifacts_is_cut_short_in_text_only(project: Project) -> None:
    project.differential = False
    for n in range(25):
        text = f"outs:\n- md5: {n:031x}a\n  size: {n}\n  hash: md5\n  path: m{n:02}.bin\n"
        project.write(f"x/m{n:02}.bin.dvc", text)
    run("git", "add", "-A", cwd=project.path)
    run("git", "commit", "-qm", "many", "--no-verify", cwd=project.path)
    assert len(changed(commits(project)[0])) == 25
    assert "and 5 more artifacts: devml-git show" in project.devml("log").out
    assert "x/m24.bin" in project.devml("show").out


# -- following -----------------------------------------------------------------------------------


def test_an_artifact_is_followed_through_renames(models: Project) -> None:
    models.differential = False
    models.git("mv", "models/a.pt.dvc", "models/best.pt.dvc")
    models.commit("renamed")
    models.write("models/best.pt", "new weights")
    models.commit("retrained")
    models.git("mv", "models/best.pt.dvc", "models/last.pt.dvc")
    models.commit("renamed again")
    assert subjects(models, "--", "models/last.pt") == [
        "renamed again", "retrained", "renamed", "v3", "v2", "v1"
    ]  # fmt: skip
    assert "moved     models/best.pt -> models/last.pt" in models.devml("log", "-n1").out
    moved = commits(models, "-n", "1", "--", "models/last.pt.dvc")[0]["changes"]
    assert moved[1]["moved_from"] == "models/best.pt"  # type: ignore[index]
    assert subjects(models, "--author=nobody", "--", "models/last.pt") == []


def test_paths_are_artifacts_members_files_or_directories(models: Project) -> None:
    for path, expected in {
        "data": ["v3", "v2", "v1"], "data/part2.csv": ["v2"], "models": ["v3", "v2", "v1"],
        "train.py": ["v3", "v2", "v1"], "devml.toml": ["set up"], "nothing": [],
        "mod*.pt": ["v3", "v2", "v1"], "data/*2.csv": ["v2"], "*.toml": ["set up"], "[m]x": [],
    }.items():  # fmt: skip
        assert subjects(models, "--", path) == expected, path


def test_paths_are_from_where_the_user_stands(models: Project) -> None:
    (models.path / "src").mkdir()
    ran = models.devml("log", "--json", "--", "../models/a.pt", cwd="src")
    assert len(ran.json["commits"]) == 3
    assert len(models.devml("log", "--json", "a.pt", cwd="models").json["commits"]) == 3


def test_what_is_told_is_of_the_paths_alone(measured: Project) -> None:
    measured.write("models/b.pt", "b")
    measured.write("metrics.json", '{"val": {"accuracy": 1}}')
    measured.write("models/a.pt", "a")
    measured.commit("both")
    (head,) = commits(measured, "-n1", "--", "models/b.pt")
    assert (changed(head), head["metrics"], head["params"]) == ({"models/b.pt": "added"}, {}, {})
    (head,) = commits(measured, "-n1", "--", "metrics.json", "models/a.pt.dvc")
    assert (changed(head), list(head["metrics"]), head["params"]) == (  # type: ignore[call-overload]
        {"models/a.pt": "modified"}, ["metrics.json"], {}
    )  # fmt: skip
    told = measured.devml("log", "-n1", "--", "models/b.pt").out.splitlines()
    assert told[1:] == ["    added     models/b.pt  1 B"]
    told = measured.devml("log", "-n1", "--", "metrics.json").out.splitlines()
    assert [line.split()[0] for line in told[1:]] == ["metrics.json"]
    whole = commits(measured, "-n1", "--", "models")[0]
    assert set(changed(whole)) == {"models/a.pt", "models/b.pt"}
    # what they are chosen by is the whole commit
    args = ("--where", "accuracy == 1", "--", "models/b.pt")
    assert subjects(measured, *args) == ["both"]
    assert measured.devml("log", "--columns", "accuracy", *args).out.split()[-2:] == ["1", "both"]


def test_a_merge_is_told_of_the_paths_alone() -> None:
    names = ("models/b.pt", "models/z.pt")
    added, changed = (
        tuple(Change(path, old, pointer(path, 1)) for path in names)
        for old in (None, pointer("x", 2))
    )
    entry = Entry("c" * 40, ("a" * 40, "b" * 40), "A", "a@x.org", "2026-01-01", "", "merged", None)
    merge = Commit(entry, added, (("a" * 40, added), ("b" * 40, changed)))
    following = Following(names[:1], None)
    told = following.told(merge, {})
    assert told is not None
    assert [[c.path for c in some] for some in (told.changes, *(s for _, s in told.against))] == [
        ["models/b.pt"]
    ] * 3
    assert following.told(replace(merge, against=(("a" * 40, added), ("b" * 40, ()))), {}) is None


def moved(p: Project, source: str, path: str, message: str, data: bytes) -> None:
    """Move an artifact and write it anew, in one commit."""
    p.git("mv", f"{source}.dvc", f"{path}.dvc")
    (p.path / source).rename(p.path / path)
    p.write(path, data)
    p.commit(message)


def test_what_was_moved_and_changed_at_once_is_followed_as_a_guess(project: Project) -> None:
    project.differential = False
    for message, value in (("a", 1), ("b", 2)):
        project.write("models/old.safetensors", weights(value, 5))
        project.write("models/other.bin", message)
        project.commit(message)
    old, new = "models/old.safetensors", "models/new.safetensors"
    moved(project, old, new, "retrained", weights(3, 5))
    assert subjects(project, "--", "models/new.safetensors") == ["retrained", "b", "a"]
    gone, come = commits(project)[0]["changes"][::-1]  # type: ignore[index]
    assert (gone["path"], gone["change"]) == ("models/old.safetensors", "deleted")
    assert (come["moved_from"], come["guessed"]) == ("models/old.safetensors", True)
    lines = project.devml("log", "-n1").out.splitlines()[1:]
    assert lines[0].startswith("    added     models/new.safetensors  ")
    assert lines[0].endswith("(probably moved from models/old.safetensors)")
    assert lines[1].startswith("    deleted   models/old.safetensors")
    for place in project.objects().values():  # by size, where content is not here
        place.unlink()
    (project.path / ".git/devml/kept.db").unlink(missing_ok=True)
    assert subjects(project, "--", "models/new.safetensors") == ["retrained", "b", "a"]


def pointer(path: str, size: int, *, ending: str = "") -> Pointer:
    return Pointer(path, f"{path}.dvc", f"{abs(hash((path, size))):032x}"[:32] + ending, size)


@pytest.mark.parametrize(
    ("gone", "come", "guessed"),
    [
        (["a.pt"], ["b.pt"], {"b.pt": "a.pt"}),
        (["a.PT"], ["b.pt"], {"b.pt": "a.PT"}),
        (["a.pt"], ["b.onnx"], {}),
        (["a.pt"], ["b.pt", "c.pt"], {}),
        (["a.pt", "d.pt"], ["b.pt"], {}),
        (["a.pt", "d.bin"], ["b.pt", "e.bin"], {"b.pt": "a.pt", "e.bin": "d.bin"}),
        (["x/m.pt", "a.pt"], ["y/m.pt", "b.pt"], {"y/m.pt": "x/m.pt", "b.pt": "a.pt"}),
        (["x/m.pt", "z/m.pt"], ["y/m.pt"], {}),
    ],
)
def test_a_guess_needs_a_pair_that_is_alone(
    gone: list[str], come: list[str], guessed: dict[str, str]
) -> None:
    old, new = ({p: pointer(p, n) for p in some} for n, some in enumerate((gone, come)))
    found = with_moves(differing(old, new), lambda *_: True)
    assert {c.path: c.moved_from for c in found if c.moved_from} == guessed
    assert all(c.guessed for c in found if c.moved_from)
    refused = with_moves(differing(old, new), lambda *_: False)
    names = {p.rsplit("/", 1)[-1] for p in come}
    assert {c.path for c in refused if c.moved_from} == {
        p for p in guessed if p.rsplit("/", 1)[-1] in names & {g.rsplit("/", 1)[-1] for g in gone}
    }


def test_the_same_content_is_no_guess_and_comes_first() -> None:
    same = pointer("x/m.pt", 1)
    old = {"x/m.pt": same}
    new = {"a/m.pt": pointer("a/m.pt", 2), "b/n.pt": replace(same, path="b/n.pt")}
    found = with_moves(differing(old, new), lambda *_: True)
    assert [(c.path, c.moved_from, c.guessed) for c in found if c.moved_from] == [
        ("b/n.pt", "x/m.pt", False)
    ]


def test_moves_of_very_many_are_found_at_once() -> None:
    many = [pointer(f"old/m{n}.bin", n) for n in range(20_000)]
    old = {p.path: p for p in many}
    new = {
        p.path.replace("old", "new"): replace(p, path=p.path.replace("old", "new")) for p in many
    }
    began = time.perf_counter()
    found = with_moves(differing(old, new), lambda *_: False)
    assert sum(c.moved_from is not None for c in found) == 20_000
    assert time.perf_counter() - began < 3


def test_another_model_of_the_same_size_is_no_next_version(project: Project) -> None:
    project.differential = False
    project.write("models/old.safetensors", weights(1, 5))
    project.commit("a")
    old, new = "models/old.safetensors", "models/new.safetensors"
    other = weights(1, 5).replace(b"layer.1", b"lager.1")
    moved(project, old, new, "other", other)
    assert subjects(project, "--", new) == ["other"]


@pytest.mark.parametrize(
    ("files", "likely"),
    [("a1 b3", True), ("a3 b3", False), ("a1 c1", True), ("a1", True), ("", False)],
)
def test_a_directory_of_which_half_is_the_same_may_be_the_next_version(
    tmp_path: Path, files: str, likely: bool
) -> None:
    class Lists:
        def manifest(self, oid: str, _: str) -> dict[str, str]:
            return {f[0]: f[1] for f in ("a1 b2" if oid == old.oid else files).split()}

    old, new = (pointer(path, n, ending=".dir") for n, path in enumerate(("old", "new")))
    asked = Likeness(lambda: Lists(), tmp_path)  # type: ignore[arg-type, return-value]
    assert asked(old, new) is likely
    assert not asked(old, pointer("new", 0))


# -- choosing by metrics -------------------------------------------------------------------------


def test_best_ranks_the_commits_that_brought_a_value(measured: Project) -> None:
    measured.commit("nothing new")
    assert subjects(measured, "--best", "accuracy") == ["v2", "v3", "v1"]
    assert subjects(measured, "--best", "val.accuracy", "-n", "1") == ["v2"]
    assert subjects(measured, "--best", "metrics.json:val.accuracy", "--min", "-n1") == ["v1"]
    ran = measured.devml("log", "--best", "lr", check=False)
    assert (ran.status, "--max or --min" in ran.err) == (2, True)
    assert subjects(measured, "--best", "lr", "--min") == ["v3", "v1"]
    ran = measured.devml("log", "--best", "acuracy", "--max")
    assert "no commit there has a metric or parameter acuracy" in ran.err


def test_where_keeps_the_commits_that_fit(measured: Project) -> None:
    assert subjects(measured, "--where", "accuracy > 0.6 and lr < 0.1") == ["v3"]
    assert subjects(measured, "--where", "not (accuracy >= 0.9 or arch != 'mlp')") == [
        "v4", "v3", "v1", "set up"
    ]  # fmt: skip
    for key in ('`"a.b"` = 3', '"a.b"= 3', '"a.b" == 3', '3 = "a.b"', 'metrics.json:"a.b" = 3'):
        assert subjects(measured, "--where", key) == ["v3"]


def test_columns_make_a_table(measured: Project) -> None:
    lines = measured.devml("log", "--columns", "accuracy, lr,none", "-n", "2").out.splitlines()
    assert lines[0].split() == ["commit", "date", "accuracy", "lr", "none", "subject"]
    assert lines[2].split()[2:] == ["0.7", "0.01", "-", "v3"]


M = Measures(
    {"m.json": {"acc": 0.5, "val.acc": 0.6, "text": "x y", "flag": True, "deep.loss": 1}},
    {"p.yaml": {"acc": 9, "lr": 0.001, "nan": float("nan"), "odd key": 3, '"a.b".c': 3}},
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("acc > 0.4", True), ("0.4 < acc", True), ("acc == 0.5", True), ("acc = .5", True),
        ("p.yaml:acc == 9", True), ("loss >= 1e0", True), ("lr<1e-2", True), ("lr < -1", False),
        ("text == 'x y'", True), ('text != "x y"', False), ("flag == true", True), ("flag == 1", False),
        ("nan > 0 or nan <= 0", False), ("gone != 1", False), ("not gone == 1", True),
        ("acc > 0 AND NOT acc > 1", True), ("text > 'a'", False), ("(((acc > 0)))", True),
        ("acc > 1 or acc > 0 and lr > 1", False), ("`odd key` == 3", True), ("text == x", False),
        ('"a.b".c >= 3', True), ('3 < "a.b".c', False), ('text == "x.y"', False),
    ],
)  # fmt: skip
def test_expressions(text: str, holds: bool) -> None:
    assert Where(text)(M) is holds


@pytest.mark.parametrize(
    "text",
    ["", "acc", "acc >", "> 1", "acc > 1 and", "(acc > 1", "acc > 1)", "1 > 2", "acc ; rm", "a > 1 b",
     "not " * 100 + "a > 1", "(" * 100 + "a > 1" + ")" * 100, "__import__('os').system('id') > 1",
     "a > 1 or " * 1000 + "a > 1", "acc > 1 == 2", "'a' == 'b'"],
    ids=lambda t: t[:20],
)  # fmt: skip
def test_expressions_that_are_none_are_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--where") as e:
        Where(text)
    assert e.value.hint


def test_a_name_that_means_several_is_told() -> None:
    several = Measures({"a.json": {"x.acc": 1, "y.acc": 2}})
    with pytest.raises(UsageError, match="several: a.json:x.acc, a.json:y.acc"):
        Named("acc").value(several)
    assert Named("y.acc").value(several) == 2


# -- how it is shown -----------------------------------------------------------------------------


def test_graph_is_gits_own_beside_our_lines(models: Project) -> None:
    models.git("checkout", "-qb", "side", "v2")
    models.write("models/b.pt", "side")
    models.commit("side")
    models.git("checkout", "-q", "main")
    models.git("merge", "-q", "side", "-m", "merged", "--no-ff")
    lines = models.devml("log", "--graph", "--all").out.splitlines()
    theirs = run("git", "log", "--graph", "--date-order", "--exclude=refs/devml/*", "--all",
                 "--format=%h", "--abbrev=10", cwd=models.path).out.splitlines()  # fmt: skip

    def drawn(line: str) -> str:
        return re.match(r"[*|\\/ ]*(\b[0-9a-f]{10})?", line)[0].rstrip()  # type: ignore[index]

    shown = [d for d in map(drawn, lines) if set(d) & set("*\\/")]
    assert shown == [t.rstrip() for t in theirs if set(t) & set("*\\/")]
    assert any(line.startswith("| | ") and "modified  models/a.pt" in line for line in lines)


def test_hostile_names_are_escaped_and_json_is_whole(project: Project) -> None:
    project.differential = False
    project.write("metrics.json", json.dumps({ESC: 1, "ok": ESC}))
    name = "models/[red]é.pt"
    project.write(name, "x")
    project.commit(ESC)
    text = project.devml("log").out
    assert "\x1b" not in text
    assert "[red]<b>" in text
    assert name in text
    (head,) = commits(project, "-n", "1")
    assert head["metrics"]["metrics.json"]["ok"] == ESC  # type: ignore[index]
    assert changed(head) == {name: "added"}
    wide = project.devml("log", "--columns", ESC)
    assert "\x1b" not in wide.out + wide.err


def test_a_terminal_gets_colour_and_the_users_pager(models: Project, sealed: Path) -> None:
    seen = sealed / "seen"
    env = {**os.environ, "GIT_PAGER": f"tee {seen} >/dev/null", "TERM": "xterm"}
    del env["NO_COLOR"]
    assert "\x1b[" in on_terminal(models.path, env, "log", "-n", "1") + seen.read_text()
    assert "v3" in seen.read_text()
    seen.unlink()
    assert "v3" in on_terminal(models.path, env, "--no-pager", "log", "-n", "1")
    models.git("config", "pager.devml-git", "false")
    assert "v3" in on_terminal(models.path, env, "show")
    assert not seen.exists()


def on_terminal(cwd: Path, env: dict[str, str], *args: str) -> str:
    master, slave = pty.openpty()
    argv = [sys.executable, "-m", "devml_git", *args]
    process = subprocess.Popen(argv, cwd=cwd, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 65536):
            said += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    assert process.wait() == 0, said
    return said.decode()


def test_a_reader_that_leaves_ends_the_walk(models: Project) -> None:
    argv = f"{sys.executable} -m devml_git log | head -n 1"
    ran = run("sh", "-c", argv, cwd=models.path)
    assert (ran.out.count("\n"), ran.err) == (1, "")


def test_a_line_a_commit(measured: Project) -> None:
    measured.git("checkout", "-qb", "side", "v2")
    measured.commit("nothing")
    lines = measured.devml("log", "--oneline").out.splitlines()
    metrics = 'val.accuracy 0.9 (+0.4, better)  "a.b" 2 (+1)  note n1 -> n2'
    assert lines == [
        f"{measured.head()[:10]} (HEAD -> side) nothing",
        f"{measured.head('v2')[:10]} (tag: v2) v2  1 artifact  {metrics}",
        f'{measured.head("v1")[:10]} (tag: v1) v1  1 artifact  val.accuracy 0.5  "a.b" 1  note n1',
        f"{measured.head('v1~1')[:10]} set up",
    ]
    drawn = measured.devml("log", "--oneline", "--graph").out.splitlines()
    assert drawn == [f"* {line}" for line in lines]
    best = measured.devml("log", "--oneline", "--best", "accuracy", "-n1").out
    assert best == lines[1] + "\n"
    one = measured.devml("log", "--oneline", "-1", "v2", "--", "metrics.json").out
    assert one == lines[1].replace("  1 artifact", "") + "\n"


def test_a_line_has_few_metrics(project: Project) -> None:
    project.differential = False
    project.write("metrics.json", json.dumps({f"m{n}": n for n in range(7)}))
    project.commit("seven")
    (line,) = project.devml("log", "--oneline", "-1").out.splitlines()
    assert line.endswith(" seven  m0 0  m1 1  m2 2  m3 3  and 3 more")


def test_an_option_that_is_none_is_told_with_those_there_are(models: Project) -> None:
    for argv, words in {
        ("log", "--stat"): ("no such option: --stat\n", "it has -n, --since, "),
        ("log", "-p"): ("no such option: -p\n", "--oneline, "),
        ("log", "--onelin"): ("no such option: --onelin\n", "devml-git log --help"),
        ("show", "--stat"): ("no such option: --stat\n", "it has --no-fetch, --json, --help"),
        ("log", "-n"): ("requires an argument\nhint: devml-git ", "--help\n"),
    }.items():
        ran = models.devml(*argv, check=False)
        assert (ran.status, ran.out) == (2, "")
        assert all(word in ran.err for word in words), ran.err
        assert "Possible" not in ran.err


# -- bad input -----------------------------------------------------------------------------------


BAD = [
    (["nope"], "unknown revision 'nope'", "git log --oneline --all"),
    (["v1..nope"], "unknown revision 'v1..nope'", "git log"),
    (["nope", "--"], "unknown revision 'nope'", "git log"),
    (["train.py", "--"], "'train.py' is a path, not a revision", "devml-git log -- train.py"),
    (["models"], "both a revision and a path", "--"),
    (["--author=["], "no regular expression", "git-log"),
    (["--grep=["], "no regular expression", "git-log"),
    (["--graph", "--", "data"], "--graph draws every commit", ""),
    (["--where", "a >"], "something to compare is missing", "--where"),
    (["--where", ""], "something to compare is missing", "--where"),
    (["-n", "x"], "invalid value", "--help"),
    (["-n", "-3"], "invalid value", "--help"),
    (["--", "../outside"], "outside of the repository", ""),
    (["--best", "lr", "--json"], "nothing says which way", "--max"),
    (["--graph", "--skip", "1"], "--graph draws every commit", ""),
    (["--oneline", "--json"], "--oneline is for people", ""),
    (["--snapshots", "v1"], "--snapshots lists all of them", ""),
]


def test_bad_requests_are_exit_two_with_a_hint(models: Project) -> None:
    models.write("params.yaml", "lr: 1\n")
    models.commit("params")
    models.git("branch", "models")
    for args, said, hint in BAD:
        ran = models.devml("log", *args, check=False)
        assert (ran.status, ran.out) == (2, ""), (args, ran.err)
        assert said in ran.err.replace("Invalid", "invalid")
        assert hint in ran.err


def test_before_the_first_commit_and_before_tracking_began(tmp_path: Path) -> None:
    p = Project(tmp_path / "new", differential=False)
    p.path.mkdir()
    p.git("init", "-q")
    ran = p.devml("log", check=False)
    assert (ran.status, "no commit yet" in ran.err) == (2, True)
    assert p.devml("log", "--all").out == ""
    p.write("code.py", "1")
    p.commit("only code")
    assert subjects(p) == ["only code"]
    p.devml("init")
    p.commit("set up")
    assert subjects(p, "HEAD~1") == ["only code"]
    p.git("checkout", "-q", "--orphan", "fresh")
    assert p.devml("log", "--json", check=False).status == 2
    run("git", "clone", "-q", "--bare", str(p.path), str(tmp_path / "bare"), cwd=tmp_path)
    bare = Project(tmp_path / "bare", differential=False).devml("log", check=False)
    assert (bare.status, "bare" in bare.err) == (10, True)
    add = ("git", "worktree", "add", "-q", "../work", "main")  # as the error says
    run(*add, cwd=tmp_path / "bare")
    assert subjects(Project(tmp_path / "work", differential=False))[0] == "set up"


def test_a_broken_pointer_is_named_and_the_walk_goes_on(models: Project) -> None:
    models.differential = False
    models.write("models/a.pt.dvc", "outs: [")
    models.git("add", "-A")
    models.git("commit", "-qm", "broken", "--no-verify", check=False)
    models.git("checkout", "-q", "v3", "--", "models/a.pt.dvc")
    models.git("commit", "-qm", "mended", "--no-verify")
    models.write("metrics.json", "{")
    models.git("add", "metrics.json")
    models.git("commit", "-qm", "half a metric", "--no-verify")
    found = commits(models)
    assert [c["subject"] for c in found[:4]] == ["half a metric", "mended", "broken", "v3"]
    assert "models/a.pt.dvc" in found[2]["notes"][0]  # type: ignore[index]
    assert "metrics.json" in found[0]["notes"][0]  # type: ignore[index]
    ran = models.devml("log")
    assert "cannot be followed: models/a.pt.dvc" in ran.out
    assert "not read at 1 commit: metrics.json" in ran.err


def test_shallow_and_partial_clones_are_read_from_pointers(models: Project, tmp_path: Path) -> None:
    models.git("config", "uploadpack.allowFilter", "true")
    models.git("config", "uploadpack.allowAnySHA1InWant", "true")
    url = f"file://{models.path}"
    run("git", "clone", "-q", "--depth", "2", url, str(tmp_path / "shallow"), cwd=tmp_path)
    shallow = Project(tmp_path / "shallow", differential=False)
    head, last = commits(shallow)
    assert set(changed(head)) == {"data", "models/a.pt"}
    assert (changed(last), "shallow" in last["notes"][0]) == ({}, True)  # type: ignore[index]
    run("git", "clone", "-q", "--filter=blob:none", url, str(tmp_path / "partial"), cwd=tmp_path)
    partial = Project(tmp_path / "partial", differential=False)
    trace = tmp_path / "trace"
    env = {"GIT_TRACE": str(trace)}
    argv = (sys.executable, "-m", "devml_git", "log", "--json")
    ran = run(*argv, cwd=partial.path, env=env)
    theirs, ours = commits(models), ran.json["commits"]
    assert [c["changes"] for c in ours] == [c["changes"] for c in theirs]
    assert len(re.findall(r"built-in: git fetch .*--stdin", trace.read_text())) == 2
    run("git", "clone", "-q", "--filter=blob:none", url, str(tmp_path / "offline"), cwd=tmp_path)
    run("git", "remote", "set-url", "origin", "file:///nowhere", cwd=tmp_path / "offline")
    offline = Project(tmp_path / "offline", differential=False).devml("log")
    assert "v1" in offline.out
    assert "not here, and the git remote did not send it" in offline.out


def test_a_project_below_the_root_has_its_own_history(models: Project) -> None:
    models.differential = False
    sub = models.path / "sub"
    sub.mkdir()
    models.devml("init", "--subdir", "--track", "*.pt", cwd="sub")
    models.write("sub/s.pt", "s")
    run("git", "add", "-A", cwd=sub)
    run("git", "commit", "-qm", "sub", cwd=sub)
    below = models.devml("log", "--json", cwd="sub").json["commits"]
    assert changed(below[0]) == {"sub/s.pt": "added"}
    assert all(not c["changes"] for c in below[1:])
    assert changed(commits(models)[0]) == {}


# -- one process, streaming ----------------------------------------------------------------------


def test_long_histories_are_one_walk_and_begin_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "long"
    place.mkdir()
    run("git", "init", "-q", cwd=place)
    stream = []
    for n in range(3000):
        oid = f"{n:031x}a"
        text = f"outs:\n- md5: {oid}\n  size: {n}\n  hash: md5\n  path: m\n"
        stream.append(
            f"commit refs/heads/main\nmark :{n + 1}\ncommitter A <a@b> {1_600_000_000 + n} +0000\n"
            f"data 1\nx\n{f'from :{n}{chr(10)}' if n else ''}M 100644 inline m.dvc\ndata {len(text)}\n{text}\n"
        )
    run("git", "fast-import", "--quiet", cwd=place, stdin="".join(stream))
    git = Git(place)
    started: list[tuple[str, ...]] = []
    for name in ("start", "_completed"):
        real = getattr(Git, name)

        def counted(self: Git, *args: object, _real: object = real, **more: object) -> object:
            started.append(args)  # type: ignore[arg-type]
            return _real(self, *args, **more)  # type: ignore[operator]

        monkeypatch.setattr(Git, name, counted)
    began = time.perf_counter()
    walking = walk(git, Config(), Chosen())
    first = next(walking)
    until_first = time.perf_counter() - began
    assert isinstance(first, Commit)
    rest = list(walking)
    assert len(rest) == 2999
    assert all(len(c.changes) == 1 for c in rest)
    assert until_first < (time.perf_counter() - began) / 3
    assert len(started) < 12


def test_names_and_messages_that_look_like_the_next_commit_are_only_text(project: Project) -> None:
    project.commit("one")
    tree, parent = project.git("rev-parse", "HEAD^{tree}", "HEAD").out.split()
    raw = project.write("raw", (
        f"tree {tree}\nparent {parent}\nauthor \x01{parent} <\x01e> 1 +0000\n"
        f"committer c <c> 1 +0000\n\n\x01{parent}\n"
    ))  # fmt: skip
    made = project.git("hash-object", "-w", "-t", "commit", "--literally", str(raw)).out.strip()
    found = commits(project, made, "-n", "2")
    assert [c["commit"] for c in found] == [made, parent]
    assert (found[0]["author"], found[0]["subject"]) == (f"\x01{parent} <\x01e>", f"\x01{parent}")
