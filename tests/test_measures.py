"""Metrics and parameters: read as DVC reads them, flattened without a clash, hostile files refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from devml_git import measures, pointers, yamltext
from devml_git.config import Config
from devml_git.errors import Refused
from devml_git.measures import MAX_BYTES, Measured, better, changes, flatten, improved, load
from devml_git.measuring import Committed, Lying, Stored, _matcher, measure
from devml_git.plumbing import Git
from tests.world import Project


class Files(dict[str, str]):
    """A reader of a few texts."""

    def names(self) -> Iterable[str]:
        return self

    def ahead(self, paths: Iterable[str]) -> None:
        pass

    def text(self, path: str) -> bytes | None:
        return self[path].encode() if path in self else None


def measured(files: dict[str, str], **config: Any) -> measures.Measures:
    return measure(Config(**config), Files(files))


# -- flattening ----------------------------------------------------------------------------------


def test_nested_keys_are_joined_and_those_with_dots_quoted() -> None:
    found = flatten({"train": {"acc": 1, "a.b": 2}, "train.acc": 3, 'q"': 4, "": 5, 7: {"x": 6}})
    assert found == {
        "train.acc": 1, 'train."a.b"': 2, '"train.acc"': 3, '"q\\""': 4, '""': 5, "7.x": 6
    }  # fmt: skip


TREES = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, min_size=1),
    max_leaves=8,
)


@given(TREES)
def test_no_two_keys_become_one(tree: Any) -> None:
    def leaves(value: Any) -> int:
        return sum(map(leaves, value.values())) if isinstance(value, dict) else 1

    assert len(flatten(tree)) == leaves(tree)


def test_lists_and_nulls_are_no_metrics_as_in_dvc() -> None:
    value = {"a": [1, 2], "b": None, "c": "text", "d": True, "e": 1.5}
    assert flatten(value, lists=False) == {"c": "text", "d": True, "e": 1.5}
    assert flatten(value) == value


# -- loading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("m.json", '{"a": {"b": 0.5}}'),
        ("m.yaml", "a:\n  b: 0.5\n"),
        ("m.YML", "a: {b: 0.5}"),
        ("m.toml", "a.b = 0.5"),
        ("m.py", "class a:\n    b = 0.5\n    c = open('x')\nimport os\n"),
        ("m", "a: &x\n  b: 0.5\n"),
    ],
)
def test_every_format_is_read(file: str, text: str) -> None:
    assert load(file, text.encode()) == {"a": {"b": 0.5}}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("m.json", b"{"),
        ("m.json", b"[" * 100_000),
        ("m.json", b"\xff\xfe\x00"),
        ("m.json", b'{"a": ' + b"9" * 5000 + b"}"),
        ("m.json", b" " * (measures.MAX_BYTES + 1)),
        ("m.toml", b"a = "),
        ("m.toml", b"a = " + b"[" * 5000),
        ("m.py", b"a = ("),
        ("m.py", b"a = " + b"-" * 100_000 + b"1"),
        ("m.yaml", b"a: [" * 3000),
        ("m.yaml", b"a: !!python/object/apply:os.system ['id']"),
        ("m.yaml", b"a: &a [1]\nb: [" + b"*a, " * 500 + b"]"),
        ("m.yaml", b"? " * 300_000),
    ],
    ids=lambda v: repr(v[:20]),
)
def test_what_cannot_be_read_is_refused_by_name(file: str, text: bytes) -> None:
    with pytest.raises(Refused, match=r"m\."):
        flatten(load(file, text))


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}, r: *a{n - 1}}}" for n in range(1, 30)]
    found = measured({"params.yaml": "\n".join(lines)})
    assert found.params == {}
    assert "params.yaml" in found.notes[0]


WORDS = [
    "a", "b: c", "x y", "python a.py --lr 3 && b", "1", "-1", "012", "1e3", "1.5e-3", "1.5", "-0.0",
    "00", "1_000", "0x1f", "0o7", "true", "True", "no", "null", "~", "'a b'", '"q"', "[]", "[1, a]",
    "[1,]", "{}", "2001-01-01", "22a1a2931c8370d3aeedd7183606fd7f", "1" * 32, "1" * 31 + "e", "# c",
    "a #b", "a#b", "- x", "|", "=", "<<", "/x", "./x", "${item}", "a'b", "x:", "x:y", "1.", "+1", "a ",
    "inf", ".inf", ".nan", "a]", "a}", "1 2", "1a", "12:30:45", "a  b", "é", "a\u0085b", "a\tb",
]  # fmt: skip
KEYS = ["a", "b", "a.b", "key-1", "y", "null", "k@v", "x/y", "<<", "k k", "1"]


@st.composite
def yaml_blocks(draw: st.DrawFn, indent: int = 0, depth: int = 0) -> list[str]:
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["pair", "pair", "item", "map", "list", "odd"]))
        key, word = draw(st.sampled_from(KEYS)), draw(st.sampled_from(WORDS))
        pre = " " * indent
        if kind == "pair" or (kind in {"map", "list"} and depth > 2):
            lines.append(f"{pre}{key}: {word}")
        elif kind == "item":
            lines.append(f"{pre}- {word}")
        elif kind == "map":
            lines.append(f"{pre}{key}:")
            lines += draw(yaml_blocks(indent + draw(st.sampled_from([0, 1, 2, 4])), depth + 1))
        elif kind == "list":
            inner = draw(yaml_blocks(indent + 2, depth + 1))
            lines += [f"{pre}- {inner[0].lstrip(' ')}", *inner[1:]]
        else:
            lines.append(
                draw(st.sampled_from(["", "# c", f"{pre}# d: e", f"{pre}{key}:", f" {pre}{key}"]))
            )
    return lines


def quick_is_ruamels(text: str) -> bool:
    """Whether the quick reader answered; then it must have said what ruamel says."""
    try:
        quick = yamltext.quick(text)
    except yamltext.Unsure:
        return False
    assert pointers.form(quick) == pointers.form(yamltext.parser("safe").load(text)), text
    return True


@given(yaml_blocks())
def test_quick_reading_of_yaml_is_ruamels_or_none(lines: list[str]) -> None:
    quick_is_ruamels("\n".join(lines) + "\n")


def test_quick_reading_of_each_value_and_key_is_ruamels_or_none() -> None:
    answered = [w for w in (*WORDS, "TRUE", "Null", "NO") if quick_is_ruamels(f"a: {w}\n")]
    assert {"a", "python a.py --lr 3 && b", "1e3", "true", "[1, a]", "'a b'"} <= set(answered)
    assert [k for k in KEYS if quick_is_ruamels(f"{k}: 1\n")] == [
        "a",
        "b",
        "a.b",
        "key-1",
        "k@v",
        "x/y",
    ]


def test_what_dvc_writes_is_read_quickly(models: Project) -> None:
    models.write("dvc.yaml", "stages:\n  s:\n    cmd: python t.py --lr 1e-3 > o\n    deps: [t.py]\n"
                 "    params: [lr]\n    outs: [o]\n")  # fmt: skip
    models.write("params.yaml", "lr: 0.001\n")
    models.write("t.py", "open('o', 'w').write('x')\n")
    models.dvc("repro", "-q")
    lock = models.read("dvc.lock")
    assert yamltext.quick(lock)["stages"]["s"]["params"] == {"params.yaml": {"lr": 0.001}}


# -- which files ---------------------------------------------------------------------------------

PIPELINE = """\
metrics:
- top.json
params:
- other.toml
stages:
  train:
    cmd: python train.py
    wdir: src
    params: [lr, ../more.yaml: [deep.x, flat], whole.json: ]
    metrics:
    - m.json: {cache: false}
  each:
    foreach: [a, b]
    do:
      cmd: python each.py ${item}
      metrics: ["each-${item}.json"]
"""


def test_dvc_yaml_says_where_they_are() -> None:
    found = measured(
        {
            "dvc.yaml": PIPELINE,
            "dvc.lock": "schema: '2.0'\nstages:\n  each@a:\n    cmd: x\n    outs:\n"
            "    - path: each-a.json\n      md5: 22a1a2931c8370d3aeedd7183606fd7f\n",
            "top.json": '{"a": 1}',
            "src/m.json": '{"b": {"c": NaN}}',
            "each-a.json": "0.5",
            "other.toml": "z = 1",
            "more.yaml": "deep: {x: 1, y: 2}\nflat: [1, 2]\nleft: 3\n",
            "src/whole.json": '{"w": 1}',
            "src/params.yaml": "lr: 0.1\nseed: 3\n",
        }
    )
    assert set(found.metrics) == {"top.json", "src/m.json", "each-a.json"}
    assert found.metrics["each-a.json"] == {"": 0.5}
    assert found.params == {
        "other.toml": {"z": 1}, "more.yaml": {"deep.x": 1, "flat": [1, 2]},
        "src/whole.json": {"w": 1}, "src/params.yaml": {"lr": 0.1},
    }  # fmt: skip
    assert found.notes == ()
    assert found.to_dict()["metrics"]["src/m.json"] == {"b.c": "NaN"}


def test_parameters_that_are_nowhere_else_come_from_the_lock() -> None:
    lock = (
        "schema: '2.0'\nstages:\n  s:\n    cmd: x\n    params:\n      gone.yaml:\n        a.b: 1\n"
    )
    yaml = "stages:\n  s:\n    cmd: x\n    params:\n    - gone.yaml:\n      - a.b\n"
    assert measured({"dvc.yaml": yaml, "dvc.lock": lock}).params == {"gone.yaml": {"a.b": 1}}


def test_configured_globs_keep_to_their_directory() -> None:
    files = {
        "runs/a.json": "{}",
        "runs/x/b.json": '{"k": 1}',
        "c.json": "{}",
        "src/dvc.yaml": "a: [",
    }
    found = measured(files, metrics=("runs/*.json",), params=("runs/**/b.json",))
    assert (set(found.metrics), set(found.params)) == ({"runs/a.json"}, {"runs/x/b.json"})
    assert [n.split(":")[0] for n in found.notes] == ["src/dvc.yaml"]


# -- as DVC says ---------------------------------------------------------------------------------


def test_commit_and_workspace_are_as_dvc_shows_them(models: Project) -> None:
    models.write("dvc.yaml", "metrics: [sub/m.yaml]\nparams: [p.toml]\n")
    models.write("sub/m.yaml", "acc: {top1: 0.9, top5: 1}\nnames: [a]\n")
    models.write("p.toml", "[opt]\nlr = 0.1\nbetas = [0.9, 0.99]\n")
    models.write("params.yaml", "seed: 1\n")
    models.commit("measured")
    git = Git.discover(models.path)
    said = json.loads(models.dvc("metrics", "show", "--json").out)[""]["data"]
    theirs = {file: flatten(table["data"]) for file, table in said.items()}
    for reader in (Committed(git, models.head()), Lying(git)):
        found = measure(Config(), reader)
        assert found.metrics == theirs == {"sub/m.yaml": {"acc.top1": 0.9, "acc.top5": 1}}
        assert found.params == {
            "params.yaml": {"seed": 1}, "p.toml": {"opt.lr": 0.1, "opt.betas": [0.9, 0.99]}
        }  # fmt: skip


def test_many_files_of_a_commit_are_read_by_a_few_processes(
    models: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(30):
        models.write(f"m/{i}.json", f'{{"acc": {i}}}')
    models.write("m/large.json", " " * (MAX_BYTES + 1))
    models.write("m/same.json", '{"acc": 0}')
    models.commit("measured")
    git, calls = Git.discover(models.path), []
    raw = Git.raw
    monkeypatch.setattr(Git, "raw", lambda *args, **more: calls.append(args) or raw(*args, **more))
    found = measure(Config(metrics=("m/*.json",)), Committed(git, models.head()))
    assert found.metrics["m/29.json"] == {"acc": 29}
    assert found.metrics["m/same.json"] == {"acc": 0}
    assert len(found.metrics) == 31
    assert found.notes == (f"m/large.json: larger than {MAX_BYTES:,} bytes",)
    assert len(calls) < 8


def test_metrics_inside_an_artifact_come_from_the_cache(models: Project) -> None:
    models.write("dvc.yaml", "metrics: [data/m.json]\n")
    models.write("data/m.json", '{"acc": 0.9}')
    models.commit("m")
    models.write("data/m.json", '{"acc": 0.1}')
    from devml_git.workspace import Workspace

    with Workspace.discover(models.path) as ws:
        stored = Stored(lambda: ws.cache, ws.snapshot_at(models.head()).pointers.get)
        reader = Committed(ws.git, models.head(), stored)
        assert measure(Config(), reader).metrics == {"data/m.json": {"acc": 0.9}}
        models.object("data.dvc").chmod(0o644)
        models.object("data.dvc").unlink()
        (note,) = measure(Config(), Committed(ws.git, models.head(), stored)).notes
        assert note == "data/m.json: its content is not in the cache"


def test_a_link_or_pipe_in_a_metrics_place_is_a_note(models: Project) -> None:
    (models.path / "metrics.json").symlink_to("/etc/passwd")
    models.git("add", "metrics.json")
    models.git("commit", "-qm", "link")
    git = Git.discover(models.path)
    for reader in (Committed(git, models.head()), Lying(git)):
        found = measure(Config(), reader)
        assert not found.metrics
        assert "metrics.json" in found.notes[0]


# -- changes -------------------------------------------------------------------------------------


def test_changes_are_by_file_and_key() -> None:
    old = {"m": {"a": 1, "b": math.nan, "c": 1, "gone": 2, "t": True}, "left": {"x": 1}}
    new = {"m": {"a": 1.0, "b": math.nan, "c": math.inf, "new": 3, "t": 1}}
    assert changes(old, new) == [
        Measured("left", "x", 1, None), Measured("m", "c", 1, math.inf),
        Measured("m", "new", None, 3), Measured("m", "t", True, 1), Measured("m", "gone", 2, None),
    ]  # fmt: skip
    assert Measured("m", "c", 1, math.inf).to_dict()["new"] == "Infinity"
    assert Measured("m", "c", 1, math.inf).difference is None


@pytest.mark.parametrize(
    ("file", "key", "old", "new", "said"),
    [
        ("m", "accuracy", 0.5, 0.6, True),
        ("m", "val.accuracy", 0.5, 0.4, False),
        ("m", "val_loss", 0.5, 0.4, True),
        ("x.json", "time", 1, 2, False),
        ("y.json", "time", 1, 2, None),
        ("m", "accuracy", "a", "b", None),
        ("m", "accuracy", 1, math.nan, None),
        ("m", "other", 1, 2, None),
    ],
)
def test_better_is_what_the_configuration_says(
    file: str, key: str, old: Any, new: Any, said: bool | None
) -> None:
    config = Config(better={"accuracy": "higher", "*loss": "lower", "x.json:time": "lower"})
    assert improved(config, Measured(file, key, old, new)) is said
    assert (better(config, file, key) is None) or key != "other"


# -- hostile -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 500_000) + "=1",
        '[" a" . ' + "'b c' .\t" * 100_000 + "c]",
        "\n".join(f"k{i} = {{{'a.' * 40}a=1}}" for i in range(9)),
        "a=" + "[" * 100_000,
    ],
)
def test_toml_keys_without_end_are_refused_at_once(text: str) -> None:
    with pytest.raises(Refused, match="dotted parts|nested too deep"):
        load("params.toml", text.encode())


def test_long_texts_in_toml_are_no_keys() -> None:
    text = 'a = "' + "x.y" * 1000 + '"\nb.c.d = "e"\n'
    assert load("params.toml", text.encode()) == {"a": "x.y" * 1000, "b": {"c": {"d": "e"}}}


def test_python_warns_of_nothing_that_a_stranger_wrote() -> None:
    assert load("params.py", b"a = '\\d'") == {"a": "\\d"}  # warnings are errors here


def test_a_pipeline_that_asks_for_very_much_is_bounded() -> None:
    many = "".join(f"    - k{i}\n" for i in range(50_000))
    named = "".join(f"  - m{i}.json\n" for i in range(2000))
    files = {
        "dvc.yaml": f"metrics:\n{named}stages:\n  s:\n    params:\n{many}",
        "params.yaml": "".join(f"k{i}: {i}\n" for i in range(9000)),
        "m0.json": '{"a": 1}',
    }
    found = measured(files)
    assert len(found.params["params.yaml"]) == 9000
    assert found.metrics["m0.json"] == {"a": 1}
    assert found.notes == ("2,000 files of metrics or parameters: 1000 are read",)


def test_parameters_are_wanted_by_name_prefix_and_glob() -> None:
    files = {
        "dvc.yaml": "stages: {s: {params: [a, b.c, 'd*', e.f.g]}}",
        "params.yaml": "{a: {x: 1}, b: {c: 2, d: 3}, dx: {y: 4}, e: {f: 5}, ab: 6}",
    }
    assert measured(files, params=()).params["params.yaml"] == {"a.x": 1, "b.c": 2, "dx.y": 4}


@pytest.mark.parametrize(
    "glob", ["*a" * 12 + "b", "**/a" * 20 + "b", "**a" * 20 + "b", "a**b**c*d"]
)
def test_hostile_globs_take_no_time(glob: str) -> None:
    assert not _matcher([glob])("a/" * 300 + "a" * 255)


GLOBS = st.lists(st.sampled_from(["a", "b", "/", "*", "?", "**/", "**"]), max_size=8).map("".join)


@given(GLOBS, st.text("ab/", max_size=12))
def test_globs_match_as_plain_backtracking_does(glob: str, path: str) -> None:
    assume("***" not in glob and not re.search(r"[^/]\*\*/", glob) and glob.count("**") <= 2)
    parts = re.split(r"(\*\*/?|\*|\?)", glob.removeprefix("/"))
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    plain = "".join(wild.get(part, re.escape(part)) for part in parts)
    assert _matcher([glob])(path) is (re.fullmatch(plain, path) is not None)
