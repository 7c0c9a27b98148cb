"""What a stranger's files may cost: each is refused or read within bounds, and the rest goes on."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devml_git import (
    asking,
    bounds,
    dvc_config,
    patterns,
    pipelines,
    plumbing,
    rules,
    templates,
    yamltext,
)
from devml_git.config import parse_size
from devml_git.dvc_config import DvcConfig
from devml_git.errors import DevmlError, Refused, UsageError
from devml_git.plumbing import Git
from devml_git.pointers import PipelineOut
from devml_git.scan import Ignores, Work
from tests import treefuzz
from tests.world import Project, devml, run

STAGE = "stages:\n  s:\n    cmd: echo {}\n    outs: [o.txt]\n"
OUT = "- md5: 0123456789abcdef0123456789abcdef\n  size: 1\n  hash: md5\n  path: out{}.bin\n"


def laughing(levels: int) -> str:
    """A text of a few hundred bytes that is a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def matrix(axis: str) -> str:
    axes = "".join(f"      {name}: {axis}\n" for name in "abcd")
    return f"stages:\n  s:\n    matrix:\n{axes}    cmd: echo\n    outs: ['o-${{key}}']\n"


MERGES = "x0: &x0 {a: 1}\n" + "".join(
    f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
)
FOREACH = "stages:\n  s:\n    foreach: {}\n    do:\n      cmd: echo\n      outs: ['${{item}}.x']\n"
NUMBERS = f"[{', '.join(map(str, range(150_000)))}]"
RULES = 'track = ["models/**", "data/", "{}"]\n'
DEEP = "/".join(["a"] * 40)

HEX = "0x" + "f" * 5000  # Python writes no number of more than 4300 digits
# By kind of attack: the files, and what `status` says of the one that is refused (none: nothing is)
ATTACKS: dict[str, tuple[dict[str, str], str]] = {
    "laughing parameters": (
        {"params.yaml": laughing(10), "dvc.yaml": STAGE.format("${a0}")},
        "dvc.yaml cannot be read: params.yaml: more than 500000 values",
    ),
    "laughing foreach": (
        {"params.yaml": laughing(10), "dvc.yaml": FOREACH.format("${a9}")},
        "params.yaml: more than 500000 values",
    ),
    "laughing pipeline": (
        {"dvc.yaml": laughing(10) + "stages: {}\n"},
        "dvc.yaml cannot be read: more than 500000 values",
    ),
    "laughing merge keys": ({"dvc.yaml": MERGES + "stages: {}\n"}, "dvc.yaml cannot be read"),
    "matrix of 40 to the 4th": (
        {"dvc.yaml": matrix(f"[{', '.join(map(str, range(40)))}]")},
        "dvc.yaml cannot be read: its templates make more than 10000 stages",
    ),
    "matrix of parameters": (
        {"dvc.yaml": matrix("${xs}"), "params.yaml": f"xs: [{', '.join(map(str, range(40)))}]\n"},
        "dvc.yaml cannot be read: its templates make more than 10000 stages",
    ),
    "foreach of a long list": (
        {"dvc.yaml": FOREACH.format(NUMBERS)},
        "its templates make more than 10000 stages",
    ),
    "text put in many times": (
        {"params.yaml": f"x: {'y' * 500_000}\n", "dvc.yaml": STAGE.format("${x}" * 5000)},
        "its templates make more than 4194304 characters",
    ),
    "files of vars that name each other": (
        {
            "dvc.yaml": "vars: [a.yaml, b.yaml]\n" + STAGE.format("${x}"),
            "a.yaml": "vars: [b.yaml]\nx: 1\n",
            "b.yaml": "vars: [a.yaml]\nx: ${x}\n",
        },
        "dvc.yaml cannot be read",
    ),
    "stars in .dvcignore": ({".dvcignore": "*a" * 30 + "b\n"}, ""),
    "double stars in .dvcignore": ({".dvcignore": "**/*a/" * 30 + "b\n" + "**/" * 60 + "c\n"}, ""),
    "large .dvcignore": (
        {".dvcignore": "".join(f"{n}*x\n" for n in range(20_000))},
        ".dvcignore has more than 10000 lines",
    ),
    "stars in rules": ({"devml.toml": RULES.format("*a" * 30 + "b/"), "a" * 200 + "/x": ""}, ""),
    "double stars in rules": (
        {"devml.toml": RULES.format("**/*a/" * 9 + "b"), f"{DEEP}/x": ""},
        "is not used: more than 3 `**`",
    ),
    "repeated double stars in rules": (
        {"devml.toml": RULES.format("**/" * 60 + "b"), f"{DEEP}/x": ""},
        "",
    ),
    "pointer of 20,000 outputs": (
        {"many.dvc": "outs:\n" + "".join(OUT.format(n) for n in range(20_000))},
        "many.dvc is more than 10000 outputs",
    ),
    "pointer of 17 MB": ({"big.dvc": "outs:\n" + "# x\n" * (17 << 18)}, "big.dvc is larger than"),
    "pointer nested deep": (
        {"deep.dvc": "outs:\n- path: a\n  md5: " + "[" * 100_000 + "\n"},
        "deep.dvc is nested deeper than 32",
    ),
    "tags": ({"tag.dvc": "!!python/object/apply:os.getcwd []\n"}, "tag.dvc is YAML tags are not"),
    "blanks in a template": ({"dvc.yaml": FOREACH.format("'${" + " " * 20_000 + "'")}, ""),
    "brackets in a template": (
        {"dvc.yaml": STAGE.format("${" + "[" * 100_000 + "}")},
        "dvc.yaml cannot be read",
    ),
    "templates in a template": (
        {"dvc.yaml": f"metrics: ['{'${' * 100_000}']\nstages: {{}}\n"},
        "",
    ),
    "hexadecimal size": ({"hex.dvc": f"outs:\n- path: x\n  size: {HEX}\n"}, "hex.dvc is a number"),
    "hexadecimal stage": (
        {"dvc.yaml": f"stages:\n  {HEX}:\n    cmd: x\n"},
        "dvc.yaml cannot be read",
    ),
    "hexadecimal parameter": (
        {
            "params.yaml": f"? {HEX}\n: [{HEX}]\n",
            "devml.toml": 'track = ["models/**", "data/"]\nparams = ["params.yaml"]\n',
        },
        "",
    ),
    "name of vars that no file can have": (
        {"dvc.yaml": 'vars: ["a\\0b.yaml", "a\\ud800b.yaml"]\n' + STAGE.format("${x}")},
        "dvc.yaml cannot be read",
    ),
    "locks of writers nested deep": ({".dvc/tmp/rwlock": "[" * 200_000}, ""),
    "lock of a writer that is no process": (
        {".dvc/tmp/rwlock": '{"write": {"": {"pid": 1}, "/tmp/x": {"pid": 99999999999999999999}}}'},
        "",
    ),
    "digits": ({"long.dvc": f"outs:\n- path: x\n  size: {'9' * 900_000}\n"}, "long.dvc is"),
}


@pytest.fixture
def attacked(models: Project, request: pytest.FixtureRequest) -> Project:
    """A project with three commits, and one that brings the files of an attack."""
    models.differential = False  # stock DVC hangs
    for name, text in ATTACKS[request.param][0].items():
        models.write(name, text)
    run("git", "add", "-Af", *ATTACKS[request.param][0], cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "attack", cwd=models.path)
    return models


@pytest.mark.parametrize("attacked", ATTACKS, indirect=True)
def test_attack_is_refused_by_name_and_the_rest_goes_on(
    attacked: Project, request: pytest.FixtureRequest
) -> None:
    words = ATTACKS[request.node.callspec.params["attacked"]][1]
    ran = attacked.devml("status")
    assert words in ran.out + ran.err
    for command in (["log"], ["show"], ["diff", "v3", "HEAD"], ["doctor"], ["verify"]):
        ran = devml(*command, cwd=attacked.path)
        assert ran.status in {0, 1}, (command, ran.err)
        assert "Traceback" not in ran.err
    attacked.write("models/a.pt", "better weights")
    attacked.write("train.py", "print(4)\n")
    before = attacked.show("HEAD", "models/a.pt.dvc")
    attacked.git("commit", "-qam", "the rest goes on")
    assert attacked.show("HEAD", "models/a.pt.dvc") != before
    attacked.git("checkout", "-q", "v1")
    assert attacked.read("models/a.pt").startswith("weights 1")


def test_pointer_that_the_user_breaks_still_stops_the_commit(models: Project) -> None:
    models.write("models/a.pt.dvc", "outs: [")
    run("git", "add", "-A", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "broken", cwd=models.path)
    models.write("models/a.pt.dvc", "outs: [[")
    assert models.git("commit", "-qam", "worse", check=False).status == 1


def test_directory_under_an_ignore_file_that_cannot_be_used_is_left_alone(models: Project) -> None:
    models.differential = False
    models.write(".dvcignore", "x" * 2000 + "\n")
    run("git", "add", "-A", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "attack", cwd=models.path)
    models.write("data/x.csv", "mine")
    models.write("models/a.pt", "mine, too")
    said = models.commit("only what is decided")
    assert ".dvcignore has a pattern of more than 1000 bytes: what it names is left" in said.err
    assert models.show("HEAD", "data.dvc") == models.show("v3", "data.dvc")
    assert models.show("HEAD", "models/a.pt.dvc") != models.show("v3", "models/a.pt.dvc")
    models.git("checkout", "-q", "v1")  # where nothing is ignored
    assert "data/x.csv" in models.devml("rescue", "list").out


# -- metrics outside of the project --------------------------------------------------------------

OUTSIDE = """\
metrics: [/etc/hostname, ../../up.json, 'C:\\x.json', /, .., '', ok.json]
params: [/x/params.yaml]
stages:
  s:
    cmd: echo
    params: [/y/p.yaml: [a]]
    metrics: [/z/m.json: {cache: false}]
"""


def test_metrics_outside_of_the_project_are_noted_and_not_read(models: Project) -> None:
    models.differential = False
    models.write("dvc.yaml", OUTSIDE)
    models.write("ok.json", '{"acc": 1}')
    models.write("dvc.lock", "schema: '2.0'\nstages:\n  s:\n    cmd: echo\n    outs:\n"
                 "    - {path: /z/m.json, md5: 0123456789abcdef0123456789abcdef, size: 1}\n")  # fmt: skip
    models.commit("outside")
    for command in (["diff", "v3", "HEAD"], ["diff"], ["log", "-1"], ["show"], ["status"]):
        said = models.devml(*command)
        assert "Traceback" not in said.err
    changed = models.devml("diff", "v3", "HEAD", "--json").json
    assert [(m["file"], m["key"]) for m in changed["metrics"]] == [("ok.json", "acc")]
    notes = " ".join(changed["notes"])
    assert "'/etc/hostname' is not relative" in notes
    assert "has an empty, '.' or '..' component" in notes


# -- honest pipelines ----------------------------------------------------------------------------

TEMPLATED = "vars: [{name: o.txt}]\nstages:\n  x:\n    cmd: echo\n    outs: ['${name}']\n"
HONEST = {
    "dvc.yaml": """\
vars:
- more.yaml
- local: {sizes: [1, 2]}
anchors: &outs
stages:
  each:
    foreach: ${names}
    do:
      cmd: echo ${item}
      outs: ["${item}.bin"]
  grid:
    matrix: {a: ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"], b: "${names}", c: "${local.sizes}"}
    cmd: echo
    outs: ["g-${item.a}-${item.b}-${item.c}": {push: false}]
  first: &first
    cmd: echo
    metrics: [m1.json: {cache: false}]
  second:
    <<: *first
    metrics: [m2.json: {cache: true, remote: r}]
    plots: [p.csv: {x: a}]
  below:
    wdir: sub
    cmd: echo ${lr}
    outs: [x.bin]
""".replace("anchors: &outs\n", ""),
    "more.yaml": "names: [n1, n2, n3, n4, n5]\n",
    "params.yaml": "lr: 1\n",
}


def test_honest_templates_anchors_and_merge_keys_are_what_dvc_says(models: Project) -> None:
    for name, text in HONEST.items():
        models.write(name, text)
    (models.path / "sub").mkdir()
    found = outs_of(models)
    assert not found.unread
    assert len(paths_of(found)) == 5 + 100 + 3 + 1
    said = {o.path: (o.cached, o.push, o.remote) for o in found.known["dvc.lock"].values()}
    assert said == by_dvc(models)


def outs_of(project: Project, remembered: dict[str, str] | None = None) -> pipelines.Outs:
    """Ask as a command does."""
    known = {} if remembered is None else remembered
    config = DvcConfig(Git.discover(project.path))
    return pipelines.Pipelines(config, known.get, known.__setitem__).here(["dvc.yaml"])


def paths_of(found: pipelines.Outs) -> list[str]:
    return [out.path for outs in found.known.values() for out in outs.values()]


def by_dvc(project: Project) -> dict[str, tuple[bool, bool, str | None]]:
    from dvc.repo import Repo

    with Repo(str(project.path)) as repo:
        return {
            os.path.relpath(out.fs_path, project.path): (out.use_cache, out.can_push, out.remote)
            for out in repo.index.outs
            if getattr(out.stage, "name", None)
        }


def test_answer_is_remembered_until_a_file_of_vars_changes(models: Project) -> None:
    for name, text in HONEST.items():
        models.write(name, text)
    (models.path / "sub").mkdir()
    known: dict[str, str] = {}
    outs_of(models, known)
    outs_of(models, known)
    assert len(known) == 1
    models.write("more.yaml", "names: [n1]\n")
    assert "n2.bin" not in paths_of(outs_of(models, known))
    assert len(known) == 2


def test_refusal_of_one_pipeline_leaves_the_others(models: Project) -> None:
    models.write("dvc.yaml", STAGE.format("x"))
    models.write("bad/dvc.yaml", matrix(f"[{', '.join(map(str, range(40)))}]"))
    config = DvcConfig(Git.discover(models.path))
    found = pipelines.Pipelines(config).here(["bad/dvc.yaml", "dvc.yaml"])
    assert paths_of(found) == ["o.txt"]
    assert list(found.unread) == ["bad/dvc.yaml"]


def test_dvc_that_takes_too_long_is_stopped_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(_file: str) -> list[PipelineOut]:
        try:
            re.match("(?:x*)*y", "x" * 100)
        except Exception:
            return []
        return []

    assert "takes more than" in asking.said("dvc.yaml", ask, 0.2)


@pytest.fixture
def counted(models: Project) -> Iterator[Project]:
    bounds.begin()
    yield models
    bounds.end()


def test_dvc_is_loaded_once_for_all_projects_and_its_time_is_the_commands(
    counted: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    true = plumbing.Conversation

    def start(module: str) -> plumbing.Conversation:
        started.append(true(module))
        return started[-1]

    monkeypatch.setattr(pipelines.plumbing, "Conversation", start)
    monkeypatch.setattr(pipelines._Dvc, "_talk", None)
    spent = [bounds.left(10.0)]
    for name in ("one", "two"):
        counted.write(f"{name}/dvc.yaml", TEMPLATED)
        run(sys.executable, "-m", "dvc", "init", "-q", "--subdir", cwd=counted.path / name)
        config = DvcConfig(Git.discover(counted.path / name))
        found = pipelines.Pipelines(config).here(["dvc.yaml"])
        assert paths_of(found) == ["o.txt"]
        assert found.unread == {}
        spent.append(bounds.left(10.0))
    assert len(started) == 1
    assert spent[0] > spent[1] > spent[2]
    started[0].close()


def test_pipeline_that_others_left_no_time_for_is_asked_again_the_next_time(
    counted: Project,
) -> None:
    counted.write("dvc.yaml", TEMPLATED)
    known: dict[str, str] = {}
    pipelines._parsed.cache_clear()
    bounds.charge(bounds.COMMAND_SECONDS)
    assert "not read: the files before it" in outs_of(counted, known).unread["dvc.yaml"]
    assert known == {}
    bounds.begin()
    assert paths_of(outs_of(counted, known)) == ["o.txt"]
    assert len(known) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text: Linux alone")
def test_pipeline_in_a_directory_whose_name_is_no_text_stops_nothing(models: Project) -> None:
    models.differential = False  # the stages were not run
    models.write("a\udc80b/dvc.yaml", STAGE.format("x"))
    models.write("dvc.yaml", STAGE.format("x"))
    models.git("add", "-A")
    models.git("commit", "-qm", "names")
    assert models.devml("status").status == 0


def test_process_that_dvc_has_ended_in_is_started_anew(models: Project) -> None:
    models.write("dvc.yaml", TEMPLATED)
    assert paths_of(outs_of(models, {})) == ["o.txt"]
    assert pipelines._Dvc._talk is not None
    os.kill(pipelines._Dvc._talk._process.pid, signal.SIGKILL)
    assert "takes more than" in outs_of(models, {}).unread["dvc.yaml"]  # it was asked, and is gone
    assert paths_of(outs_of(models, {})) == ["o.txt"]


# -- counting and stopping -----------------------------------------------------------------------


def test_expression_of_re_is_stopped_by_its_file() -> None:
    began = time.process_time()
    with pytest.raises(Refused, match=r"a\.yaml: takes more than"), bounds.limited("a.yaml", 0.1):
        re.match("(?:x*)*y", "x" * 100)
    assert time.process_time() - began < 2


def test_files_of_one_command_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "COMMAND_SECONDS", 0.05)
    bounds.begin()
    with pytest.raises(Refused):
        for _ in itertools.count():
            with bounds.limited("b.yaml"):
                sum(range(100_000))
    with pytest.raises(Refused, match="not read: the files before it"), bounds.limited("b.yaml"):
        pass
    bounds.renew()
    with bounds.limited("b.yaml"):
        pass


@pytest.mark.parametrize(
    "text", [laughing(10), "a: &a [*a]\n", MERGES, "a: &a {b: *a}\n", "x" * (5 << 20)]
)
def test_yaml_that_explodes_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        yamltext.load_with_aliases("f", text)


def test_yaml_of_bounded_aliases_is_read() -> None:
    assert yamltext.load_with_aliases("f", "a: &a [1, 2]\nb: [*a, *a]\n") == {
        "a": [1, 2],
        "b": [[1, 2], [1, 2]],
    }
    merged = yamltext.load_with_aliases("f", "a: &a {x: 1}\nb: {<<: *a, y: 2}\n")
    assert merged["b"] == {"x": 1, "y": 2}


def test_large_configuration_of_dvc_is_refused() -> None:
    text = "".join(f"['remote \"r{n}\"']\n    url = s3://b/{n}\n" for n in range(60_000))
    with pytest.raises(DevmlError, match="larger than"):
        dvc_config.remote_sections_of(text)


# -- patterns ------------------------------------------------------------------------------------

PIECES = st.lists(st.sampled_from(["a", "b", "?", "[ab]", "\\*"]), max_size=2).map("".join)
PARTS = st.lists(PIECES, min_size=2, max_size=5).map("*".join).filter(lambda part: part.strip("*"))
GLOBS = st.lists(PARTS, min_size=1, max_size=4).flatmap(
    lambda parts: st.lists(
        st.sampled_from(["/", "/**/"]), min_size=len(parts), max_size=len(parts)
    ).map(lambda gaps: "".join(f"{gap}{part}" for gap, part in zip(gaps, parts, strict=True)))
)
PATHS = st.lists(st.text("aab*", min_size=1, max_size=5), min_size=1, max_size=6).map("/".join)


@given(st.sampled_from(["", "!", "**", "x"]), GLOBS, st.sampled_from(["", "/"]), st.lists(PATHS))
def test_hard_pattern_matches_what_pathspec_matches(
    start: str, glob: str, end: str, paths: list[str]
) -> None:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    pattern = start + glob + end
    theirs, included = GitIgnoreSpecPattern.pattern_to_regex(pattern)
    ours, also = patterns.of(pattern)
    assert theirs is not None
    assert ours is not None
    assert included is also
    for path in (*paths, *(f"{p}/" for p in paths)):
        assert bool(re.match(theirs, path)) is bool(re.match(ours, path)), (pattern, path)


def test_hard_pattern_matches_where_it_should() -> None:
    """Long enough that chance would not find it."""
    rng = random.Random(5)
    for _ in range(300):
        words = ["".join(rng.choices("ab", k=3)) for _ in range(6)]
        pattern = "*".join(words)
        name = "".join(f"{word}{''.join(rng.choices('ab', k=3))}" for word in words)
        spec = rules._spec([f"{pattern}*", "!no"])
        assert spec.match_file(name)
        assert spec.match_file(f"d/{name}/x")
        deep = "/**/".join(words)
        place = "/x/y/".join(words)
        assert rules._spec([deep]).match_file(place)
        assert not rules._spec([deep]).match_file(place.replace(words[3], "zzz"))


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 60 + "b", "**/*a/" * 60 + "b", "?*" * 300, "[a-z]*" * 90 + "!", "*" * 12 + "x", "/" + "*" * 99 + "x/"],
)  # fmt: skip
def test_hard_pattern_takes_no_time(pattern: str) -> None:
    spec = rules._spec([pattern])
    began = time.process_time()
    for path in ("a" * 255, "/".join(["a" * 250] * 16), "/".join(["a"] * 2000)):
        spec.match_file(path)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("pattern", ["[z-a]", "[", "a\\", "[[:alpha:", "x" * 2000, "!", "/", "//"])
def test_malformed_pattern_matches_nothing(pattern: str) -> None:
    assert not rules._spec([pattern]).match_file("zzz/a")


def test_rules_within_bounds_are_git_s_and_mean_the_same() -> None:
    fit, notes = rules.within_bounds(
        ["**/**/**/a", "b**", "\\***", "**/a/**/b/**/c/**/d", "x" * 2000]
    )
    assert fit == ("**/a", "b*", "\\**")
    assert len(notes) == 2


# -- templates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "count"),
    [("${a.b}", 3), ("${a.c[1]}", 2), ("${nothing}", 1), ("${a[x", 1), ("plain", 1), ("${d}", 1)],
)
def test_what_a_template_names_is_counted(axis: str, count: int) -> None:
    values = {"a": {"b": [1, 2, 3], "c": [0, {"x": 1, "y": 2}]}, "d": 5}
    assert templates._count({"foreach": axis}, values) == count


# -- at random -----------------------------------------------------------------------------------

FIRST = int(os.environ.get("DEVML_FUZZ_SEED", "0"))


@pytest.mark.parametrize("kind", treefuzz.KINDS)
@pytest.mark.filterwarnings("error")
def test_odd_text_is_an_error_of_ours_or_a_result(kind: str) -> None:
    print(f"{kind}: seeds from {FIRST}")
    for seed in range(FIRST, FIRST + 40):
        treefuzz.look_at(kind, seed)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("pyproject.toml", 855),  # a pattern that ends in a backslash
        (".dvcignore", 1700023),  # a run of stars, each of which was read by itself
        ("devml.toml", 1711715),  # a pattern longer than a file may be called
        ("dvc.yaml", 1766247),  # a mapping as a key, by way of an anchor
        ("params.yaml", 1702024),  # a version that YAML never had
        ("params.yaml", 432),  # an anchor twice: ruamel warns, with the text
    ],
)
@pytest.mark.filterwarnings("error")
def test_odd_text_that_was_found(kind: str, seed: int) -> None:
    treefuzz.look_at(kind, seed)


@pytest.mark.long
@pytest.mark.parametrize("kind", treefuzz.KINDS)
def test_many_odd_texts(kind: str) -> None:
    seconds = 3600 / len(treefuzz.KINDS)
    argv = ["-W", "error", "-m", "tests.treefuzz", kind, str(FIRST), str(seconds)]
    ran = run(treefuzz.sys.executable, *argv, cwd=Path(__file__).parents[1], check=False)
    assert not ran.status, f"{kind}, seeds from {FIRST}: {ran.err[-3000:]}"
    print(ran.out)


def test_configuration_that_is_no_list_of_rules_is_still_an_error(models: Project) -> None:
    from devml_git import config

    models.write("devml.toml", "track = 1\n")
    with pytest.raises(UsageError):
        config.load(models.path)


def test_dvcignore_that_is_no_utf8_leaves_files_alone_that_it_does_not_concern(
    models: Project,
) -> None:
    models.differential = False
    models.write(".dvcignore", b"a\n\xff\xfe*\n")
    run("git", "add", "-A", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "attack", cwd=models.path)
    assert ".dvcignore is no UTF-8" in models.devml("status").out
    models.write("models/a.pt", "better weights")
    models.write("train.py", "print(4)\n")
    models.git("commit", "-qam", "the rest goes on")
    assert models.show("HEAD", "models/a.pt.dvc") != models.show("v3", "models/a.pt.dvc")


def test_writer_that_a_commit_names_keeps_nothing_from_being_restored(models: Project) -> None:
    models.differential = False
    names = {str(models.path / "models"): {"pid": 1}}
    models.write(".dvc/tmp/rwlock", json.dumps({"write": names}))
    run("git", "add", "-f", ".dvc/tmp/rwlock", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "attack", cwd=models.path)
    (models.path / "models/a.pt").unlink()
    models.devml("checkout")
    assert models.read("models/a.pt").startswith("weights 3")


def test_links_in_git_and_members_are_no_product() -> None:
    work = Work("data", "dir", {}, {}, links={f"l{n}" for n in range(100_000)})
    began = time.process_time()
    assert not any(work.in_a_link(f"m/{n}") for n in range(100_000))
    assert work.in_a_link("l7/x")
    assert work.in_a_link("l7")
    assert time.process_time() - began < 2


def test_size_that_is_no_number_of_bytes_is_refused() -> None:
    for value in (f"{'9' * 400}GB", 1 << 5000):
        with pytest.raises(ValueError, match="."):
            parse_size(value)


@pytest.fixture
def slow_to_ignore(models: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A `.dvcignore` as a stranger may write it, held against names made for it."""
    models.write(".dvcignore", "".join(f"*a*{n}b*\n" for n in range(3000)))
    for n in range(500):
        models.write(f"data/{'a' * 200}{n}", "x")
    monkeypatch.setattr(bounds, "FILE_SECONDS", 0.3)
    models.differential = False
    return models


def test_dvcignore_whose_matching_takes_too_long_stops_at_what_it_is_held_against(
    slow_to_ignore: Project,
) -> None:
    models = slow_to_ignore
    models.write("models/new.pt", "weights\n")
    begun = time.process_time()
    told = models.devml("status").out
    assert time.process_time() - begun < 5
    assert "data: DVC takes too long to tell what .dvcignore files leave out" in told
    assert "models/new.pt" in told
    models.write("models/a.pt", "better weights")
    before = models.show("HEAD", "data.dvc")
    assert "left alone" in models.git("commit", "-qam", "the rest").err
    assert models.show("HEAD", "data.dvc") == before
    assert models.show("HEAD", "models/a.pt.dvc") != models.show("v3", "models/a.pt.dvc")


def test_directory_left_alone_is_told_though_nothing_else_changed_and_refused_when_asked_for(
    slow_to_ignore: Project,
) -> None:
    run("git", "add", "-A", cwd=slow_to_ignore.path)
    run("git", "commit", "-qm", "their file", cwd=slow_to_ignore.path)
    told = slow_to_ignore.git("commit", "-q", "--allow-empty", "-m", "nothing").err
    assert "left alone" in told
    asked = slow_to_ignore.devml("snapshot", "data", check=False)
    assert asked.status == 21
    assert "give .dvcignore fewer patterns" in asked.err


def test_many_patterns_and_names_that_are_honest_are_never_too_many() -> None:
    """Their time grows with them, and so does what they may take."""
    filtered = Ignores(lambda _, dirs, files: (dirs, [f for f in files if spin()]))
    names = [str(n) for n in range(20_000)]
    for n in range(5):
        assert filtered.of(f"/{n}", [], names) == ([], names)


def spin() -> bool:
    return sum(range(400)) > 0


def test_settings_and_pointers_of_hundreds_of_megabytes_in_git_are_not_read(
    models: Project,
) -> None:
    """Git packs zeros a thousand to one: what is small to fetch is large to read."""
    models.differential = False
    large = models.path.parent / "large"
    with large.open("wb") as f:
        f.truncate(600 << 20)
    blob = run("git", "hash-object", "-w", str(large), cwd=models.path).out.strip()
    large.unlink()
    for file in (".dvc/config", "models/a.pt.dvc"):
        run("git", "update-index", "--cacheinfo", f"100644,{blob},{file}", cwd=models.path)
        run("git", "update-index", "--skip-worktree", file, cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "attack", cwd=models.path)
    models.write("models/w.safetensors", "other\n")
    for command in ("status", "show", "diff HEAD~1 HEAD", "blame models/a.pt", "verify --all",
                    "snapshot -m try", "checkout HEAD models/a.pt"):  # fmt: skip
        argv = [sys.executable, "-I", "-m", "devml_git", *command.split()]
        limited = ["sh", "-c", 'ulimit -v 900000; exec "$@"', "sh", *argv]
        ran = run(*limited, cwd=models.path, check=False)
        assert ran.status not in {70, -9}, (command, ran.err)
        assert "internal error" not in ran.err, (command, ran.err)


# hypothesis has a callback of the garbage collector: a signal that meets it is lost, the next is not
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_many_models_that_take_long_to_read_are_not_all_looked_into(
    models: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.differential = False
    for version in (1, 2):
        for n in range(8):
            slow = pickle.dumps([list(range(30)) for _ in range(20_000 + version)])
            models.write(f"models/slow{n}.pkl", slow)
        models.devml("commit", "-am", f"v{version}")
    monkeypatch.setattr(bounds, "MODEL_SECONDS", 0.3)
    monkeypatch.setattr(bounds, "COMMAND_SECONDS", 0.8)
    begun = time.process_time()
    told = models.devml("diff", "HEAD~1", "HEAD").out
    assert time.process_time() - begun < 3
    assert "not looked into: models/slow0.pkl: takes more than" in told
    assert "not looked into: models/slow7.pkl: not read: the files before it" in told
