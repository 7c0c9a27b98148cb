"""Pointers: byte for byte what DVC writes, for new files and for updates; and what is left alone."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devml_git import ignoring, pointers
from devml_git.errors import Refused
from devml_git.journal import Journal
from devml_git.nouns import LEGACY, MD5, Content, Pointer
from devml_git.plumbing import Git
from devml_git.pointers import PipelineOut
from tests.twins import sha256, vouched, without_note
from tests.world import Project, run

# MD5s that YAML could take for a number: of "1518375" and of "46793"
DIGITS, DIGITS_OID = "1518375", "93240121540327474319550261818423"
EXPONENT, EXPONENT_OID = "46793", "401013266745e5661589292315434968"

NAMES = [
    "plain.pt", "no-suffix", "UPPER.BIN", "a.b.c", "under_score", "x", "_", "a-", "a.", "trailing.dot.",
    "with space", " leading space", "trailing space ", "two  spaces", "- a", "-x", "--long", "-", "--",
    "é", "e\u0301", "Ångström.pt", "日本語.pt", "模型", "модель.bin", "🙂", "a🙂.pt", "\u00a0nbsp", "ﬁ",
    "123", "007", "0", "0.csv", "12.bin", "2024-01.parquet", "1e3", "1E3", "12e03", "0x1f", "0o7", "0b1", "1_000", "+1", "-1", ".5", "1.", "1.5",
    "2020-01-01", "2020-01-01T10:00:00Z", "12:30", "12:30:45", ".inf", ".nan", "nan", "-.inf",
    "null", "Null", "NULL", "true", "True", "false", "yes", "no", "on", "off", "y", "n", "~", "~x", "none",
    "#", "#x", "a#b", "a #b", "a:b", "a: b", "a:", ":a", "[a]", "{a}", "a[1]", "a,b", "a]b", "a}b", "(a)",
    "'q'", '"q"', "it's", 'say "hi"', "a'", "!x", "!", "&a", "*a", "a*b", "%a", "@a", "`a`", "`", "?", "? a",
    "?a", "|a", ">a", "=", "<<", "---", "a\\b", "$a", "a;b", "^a", "....", ".hidden", ".hidden.pt",
    "n" * 71, "n" * 72, "n" * 73, "n" * 80, "n" * 81, "n" * 200, "1" * 80, "w " * 30 + "w",
    "w" * 75 + " x", "é" * 40, "a " * 45 + "b", "word-" * 16 + "end", "x" * 79 + ":", "🙂" * 30,
]  # fmt: skip
DIRECTORIES = [
    f"dirs/{n}" for n in ("plain", "with space", "123", "é", "1e3", "#x", "[a]", "null", "d" * 80)
]
EXECUTABLES = [f"exec/{n}" for n in ("run", "with space", "123", "x" * 73)]
CONTENTS = {"empty": "", "oid-digits": DIGITS, "oid-exponent": EXPONENT, "exec/oid-digits": DIGITS}
ARTIFACTS = [*NAMES, *DIRECTORIES, *EXECUTABLES, *CONTENTS]


def make_corpus(root: Path) -> None:
    for path in ARTIFACTS:
        place = root / path
        place.parent.mkdir(exist_ok=True)
        if path in DIRECTORIES:
            (place / "sub").mkdir(parents=True)
            (place / "one.csv").write_text(f"one of {path}")
            (place / "sub" / "two é.csv").write_text("two")
        else:
            place.write_text(CONTENTS.get(path, f"content of {path}"))
        if path.startswith("exec/"):
            place.chmod(0o755)


def git_and_dvc(root: Path) -> Any:
    from dvc.repo import Repo

    run("git", "init", "-q", cwd=root)
    return Repo.init(str(root))


def _added_by_dvc(root: Path) -> dict[str, bytes]:
    repo = git_and_dvc(root)
    make_corpus(root)
    repo.add([str(root / path) for path in ARTIFACTS])
    repo.close()
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file()
        and (p.suffix == ".dvc" or p.name == ".gitignore")
        and ".dvc" not in p.parts[:-1]
    }


_added: dict[str, bytes] = {}


@pytest.fixture
def dvc_wrote(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The text files that one `dvc add` of the corpus writes (run once per process)."""
    if not _added:
        _added.update(_added_by_dvc(tmp_path_factory.mktemp("dvc-add")))
    return _added


def content_of(place: Path) -> Content:
    """The content of a place, by a second reading of DVC's format."""
    if place.is_file():
        data = place.read_bytes()
        executable = {""} if place.stat().st_mode & 0o111 else set()
        return Content(md5(data), len(data), None, frozenset(executable))
    import json

    files = sorted(p for p in place.rglob("*") if p.is_file())
    rows = [{"md5": md5(p.read_bytes()), "relpath": p.relative_to(place).as_posix()} for p in files]
    rows.sort(key=lambda r: r["relpath"])
    oid = md5(json.dumps(rows, sort_keys=True).encode()) + ".dir"
    return Content(oid, sum(p.stat().st_size for p in files), len(files))


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# -- new pointers --------------------------------------------------------------------------------


def test_new_pointer_is_byte_identical_with_dvc_add_over_the_corpus(
    dvc_wrote: dict[str, bytes], tmp_path: Path
) -> None:
    make_corpus(tmp_path)
    ours = {p: pointers.new(p.split("/")[-1], content_of(tmp_path / p)) for p in ARTIFACTS}
    assert ours == {p: dvc_wrote[f"{p}.dvc"] for p in ARTIFACTS}


def test_pointers_that_dvc_add_wrote_are_read_back(
    dvc_wrote: dict[str, bytes], tmp_path: Path
) -> None:
    make_corpus(tmp_path)
    for path in ARTIFACTS:
        (pointer,) = pointers.read(f"{path}.dvc", dvc_wrote[f"{path}.dvc"])
        content = content_of(tmp_path / path)
        assert (pointer.path, pointer.oid, pointer.size, pointer.nfiles) == (
            path, content.oid, content.size, content.nfiles,
        )  # fmt: skip
        assert pointer.executable == content.executable
        assert pointer.hash_name == MD5
        assert pointer.why_left_alone is None


@pytest.mark.parametrize("seed", range(3))
def test_name_that_is_written_without_a_yaml_library_is_one_that_dvc_writes_so(seed: int) -> None:
    """Numbers, dates and words that YAML takes for something else begin like `0.csv`."""
    from dvc.utils.serialize import dumps_yaml

    rng = random.Random(seed)
    letters = "0123456789abcdefxotzTZnieEgpsinf._-"
    names = {
        "0.csv",
        "12.bin",
        "1.inf",
        "0.nan",
        "3no",
        "1.5e3n",
        "2024-01-01",
        "1e3",
        "0x1f",
        "0o17",
        "1_0",
    }
    names |= {
        rng.choice(letters[:10]) + "".join(rng.choices(letters, k=rng.randrange(8)))
        for _ in range(600)
    }
    plain = [name for name in names if b"'" not in pointers.new(name, Content("a" * 32, 1))]
    assert len(plain) > 300
    for name in plain:
        assert dumps_yaml({"path": name}) == f"path: {name}\n", f"seed {seed}"
        text = pointers.new(name, Content("a" * 32, 1))
        assert [p.path for p in pointers.read("x.dvc", text)] == [name]


def test_ignore_entries_are_byte_identical_with_dvc_add_over_the_corpus(
    dvc_wrote: dict[str, bytes], tmp_path: Path
) -> None:
    run("git", "init", "-q", cwd=tmp_path)
    make_corpus(tmp_path)
    git = Git.discover(tmp_path)
    for path in ARTIFACTS:
        ignoring.ignore_artifact(Journal(git), path)
    for file in (".gitignore", "dirs/.gitignore", "exec/.gitignore"):
        assert (tmp_path / file).read_bytes() == dvc_wrote[file], file


def test_track_snapshot_and_add_all_over_the_corpus_give_git_the_pointers_of_dvc_add(
    dvc_wrote: dict[str, bytes], project: Project
) -> None:
    project.differential = False
    make_corpus(project.path)
    project.devml("track", "--", *(f"./{p}" for p in ARTIFACTS))
    project.devml("snapshot")
    project.git("add", "-A")
    staged = set(Git.discover(project.path).names("ls-files", "-z"))
    members = {f"{d}/{m}" for d in DIRECTORIES for m in ("one.csv", "sub/two é.csv")}
    assert staged & {*ARTIFACTS, *members} == set()
    pointer_files = {f"{p}.dvc" for p in ARTIFACTS}
    assert pointer_files - staged == set()
    texts = {f: project.read(f) for f in pointer_files}
    plain = {f: without_note(text).encode() for f, text in texts.items()}
    assert plain == {f: dvc_wrote[f] for f in pointer_files}
    assert all(vouched(text) for text in texts.values())
    project.differential = True
    project.agree()


@settings(
    max_examples=400, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    name=st.text(
        st.characters(codec="utf-8", exclude_characters="/", exclude_categories=("Cc", "Zl", "Zp")),
        min_size=1, max_size=120,
    )
    | st.text("0123456789eEx._-+: #", min_size=1, max_size=90)
    | st.text("abc ,'\"[]{}&*!|>%@`?-:#\\", min_size=1, max_size=90),
    oid=st.text("0123456789abcdef", min_size=32, max_size=32) | st.text("0123456789e", min_size=32, max_size=32),
    size=st.integers(0, 1 << 50),
    nfiles=st.none() | st.integers(0, 10**6),
    executable=st.booleans(),
    second=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64)
    | st.text("0123456789e", min_size=64, max_size=64) | st.text("0123456789", min_size=64, max_size=64),
)  # fmt: skip
def test_new_pointer_of_a_random_name_is_what_dvc_would_serialise(
    name: str, oid: str, size: int, nfiles: int | None, executable: bool, second: str | None
) -> None:
    from dvc.utils.serialize import dumps_yaml

    executable = executable and nfiles is None
    if nfiles is not None:
        oid += ".dir"
    out: dict[str, Any] = {"md5": oid, "size": size}
    out |= {} if nfiles is None else {"nfiles": nfiles}
    out |= {"isexec": True} if executable else {}
    out |= {"hash": "md5", "path": name}
    bits = frozenset({""}) if executable else frozenset()
    plain = pointers.new(name, Content(oid, size, nfiles, bits))
    assert plain.decode() == dumps_yaml({"outs": [out]})
    out |= {"meta": {"devml": {"md5": oid, "sha256": second}}} if second else {}
    content = Content(oid, size, nfiles, bits, second)
    text = pointers.new(name, content)
    assert text.decode() == dumps_yaml({"outs": [out]})
    assert pointers.data_of("x.dvc", text) == {"outs": [out]}
    if "//" not in name and not {".", ".."} & set(name.split("/")) and name.strip("/"):
        with contextlib.suppress(Refused):
            (pointer,) = pointers.read("x.dvc", text)
            assert (pointer.oid, pointer.sha256) == (oid, second)
            assert pointers.updated(plain, pointer, content) == text
            assert pointers.updated(text, pointer, replace(content, sha256=None)) == plain


# -- updates -------------------------------------------------------------------------------------

OLD = "0123456789abcdef0123456789abcdea"
CASES = {
    "canonical": f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n",
    "comments": (
        f"# the head\nouts:  # of outs\n# before\n- md5: {OLD}  # of md5\n  size: 3\n  # between\n"
        "  hash: md5\n  path: NAME  # of path\n# the end\n"
    ),
    "key order": f"outs:\n- path: NAME\n  hash: md5\n  size: 3\n  md5: {OLD}\n",
    "foreign fields": (
        f"desc: a model\nouts:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n  desc: mine\n"
        "  type: model\n  labels:\n  - nlp\n  - cv\n  meta:\n    acc: 0.5\n    who: [a, b]\n"
        "  remote: backup\n  push: false\nmeta:\n  ticket: 12\n"
    ),
    "frozen": f"frozen: true\nouts:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n",
    "no size": f"outs:\n- md5: {OLD}\n  hash: md5\n  path: NAME\n",
    "no hash yet": "outs:\n- hash: md5\n  path: NAME\n",
    "persist": f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n  persist: true\n",
    "flow style": f"outs: [{{md5: {OLD}, size: 3, hash: md5, path: NAME}}]\n",
    "flow out": f"outs:\n- {{md5: {OLD}, size: 3, hash: md5, path: NAME}}\n",
    "indented list": f"outs:\n  - md5: {OLD}\n    size: 3\n    hash: md5\n    path: NAME\n",
    "quotes": f"outs:\n- md5: '{OLD}'\n  size: 3\n  hash: \"md5\"\n  path: \"NAME\"\n",
    "blank lines": f"\nouts:\n\n- md5: {OLD}\n\n  size: 3\n  hash: md5\n\n  path: NAME\n\n\n",
    "document start": f"---\nouts:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n",
    "crlf": f"outs:\r\n- md5: {OLD}\r\n  size: 3\r\n  hash: md5\r\n  path: NAME\r\n",
    "crlf and comments": (
        f"# head\r\nouts:\r\n- md5: {OLD}  # it\r\n  size: 3\r\n  hash: md5\r\n  path: NAME\r\n"
    ),
    "no newline at the end": f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME",
    "wdir": f"wdir: .\nouts:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n",
    "defaults written out": (
        f"wdir: .\nfrozen: false\nouts:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n"
        "  cache: true\n  persist: false\n  push: true\nalways_changed: false\n"
    ),
    "old stage md5": f"md5: {OLD}\nouts:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n",
    "legacy": f"outs:\n- md5: {OLD}\n  size: 3\n  path: NAME\n",
    "legacy with comments": f"outs:\n# mine\n- md5: {OLD}  # x\n  size: 3\n  path: NAME  # y\n",
    "legacy with fields": f"outs:\n- md5: {OLD}\n  size: 3\n  path: NAME\n  desc: mine\n  push: false\n",
    "legacy dvc 1": f"md5: {OLD}\nouts:\n- md5: {OLD}\n  path: NAME\n  cache: true\n",
    "was a directory": f"outs:\n- md5: {OLD}.dir\n  size: 9\n  nfiles: 2\n  hash: md5\n  path: NAME\n",
    "was a directory, comments": (
        f"outs:\n- md5: {OLD}.dir\n  size: 9\n  nfiles: 2  # two\n  hash: md5\n  path: NAME\n  desc: d\n"
    ),
    "legacy directory": f"outs:\n- md5: {OLD}.dir\n  path: NAME\n",
    "was executable": (
        f"outs:\n- md5: {OLD}\n  size: 3\n  isexec: true\n  hash: md5\n  path: NAME\n"
    ),
    "was executable, desc": (
        f"outs:\n- md5: {OLD}\n  size: 3\n  isexec: true\n  hash: md5\n  path: NAME\n  desc: d\n"
    ),
    "long desc": (
        f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: NAME\n  desc: {'word ' * 30}\n"
        f"meta:\n  text: |\n    one\n    two\n  folded: >\n    three\n    four\n"
    ),
}  # fmt: skip
ONLY_AS_ADD = {"old stage md5", "legacy dvc 1"}
SHAPES = ("file", "exec", "dir", "digits")


@dataclass
class Updated:
    """One update: the text before, what `dvc commit -f` made of it, what `dvc add` made of it."""

    before: bytes
    by_commit: bytes
    by_add: bytes
    content: Content


def _updated_by_dvc(base: Path) -> dict[tuple[str, str], Updated]:
    found: dict[tuple[str, str], Updated] = {}
    texts: dict[tuple[str, str], dict[str, bytes]] = {}
    for how in ("commit", "add"):
        root = base / how
        root.mkdir()
        repo = git_and_dvc(root)
        (root / ".dvc" / "config").write_text("['remote \"backup\"']\n    url = /nowhere\n")
        repo.close()
        repo = type(repo)(str(root))
        for i, case in enumerate(CASES):
            for shape in SHAPES:
                name = f"{shape}{i}"
                _make_shape(root / name, shape)
                before = CASES[case].replace("NAME", name).encode()
                (root / f"{name}.dvc").write_bytes(before)
                if how == "commit":
                    repo.commit(target=str(root / f"{name}.dvc"), force=True, relink=False)
        if how == "add":
            repo.add([str(root / f"{s}{i}") for i in range(len(CASES)) for s in SHAPES])
        repo.close()
        for i, case in enumerate(CASES):
            for shape in SHAPES:
                after = (root / f"{shape}{i}.dvc").read_bytes()
                texts.setdefault((case, shape), {})[how] = after
    for i, case in enumerate(CASES):
        for shape in SHAPES:
            name = f"{shape}{i}"
            before = CASES[case].replace("NAME", name).encode()
            text = texts[case, shape]
            content = content_of(base / "commit" / name)
            found[case, shape] = Updated(before, text["commit"], text["add"], content)
    return found


def _make_shape(place: Path, shape: str) -> None:
    if shape == "dir":
        place.mkdir()
        (place / "a").write_text("aa")
        (place / "b").write_text("bbb")
        (place / "c").write_text("")
    else:
        place.write_text(DIGITS if shape == "digits" else "new content")
        place.chmod(0o755 if shape == "exec" else 0o644)


_updates: dict[tuple[str, str], Updated] = {}


@pytest.fixture
def dvc_updated(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Updated]:
    """What DVC makes of every case and shape (run once per process)."""
    if not _updates:
        _updates.update(_updated_by_dvc(tmp_path_factory.mktemp("dvc-update")))
    return _updates


def at(file: str, path: str) -> Pointer:
    """A pointer there, by which its entry is found."""
    return Pointer(path, file, oid=None)


def ours_of(case: str, shape: str, made: Updated) -> str:
    name = f"{shape}{list(CASES).index(case)}"
    return pointers.updated(made.before, at(f"{name}.dvc", name), made.content).decode()


def test_updates_are_byte_identical_with_dvcs(
    dvc_updated: dict[tuple[str, str], Updated],
) -> None:
    found = {}
    for (case, shape), made in dvc_updated.items():
        ours = ours_of(case, shape, made)
        # `dvc commit` drops the md5 of a stage that DVC 1 wrote, `dvc add` and we keep it
        theirs = (made.by_add if case in ONLY_AS_ADD else made.by_commit).decode()
        if ours != theirs:
            found[case, shape] = "\n".join(difflib.ndiff(theirs.splitlines(), ours.splitlines()))
    assert found == {}


def test_dvc_add_and_dvc_commit_write_the_same_but_for_the_known_cases(
    dvc_updated: dict[tuple[str, str], Updated],
) -> None:
    differing = {case for (case, _), made in dvc_updated.items() if made.by_add != made.by_commit}
    assert differing == ONLY_AS_ADD


@pytest.mark.parametrize("case", ["comments", "foreign fields", "legacy with comments"])
def test_update_keeps_every_line_but_those_of_the_content(
    case: str, dvc_updated: dict[tuple[str, str], Updated]
) -> None:
    made = dvc_updated[case, "file"]
    content_keys = ("- md5:", "size:", "hash:")
    kept = [
        line
        for line in made.before.decode().splitlines()
        if not line.strip().startswith(content_keys)
    ]
    after = ours_of(case, "file", made).splitlines()
    assert [line for line in kept if line not in after] == []


def test_snapshot_updates_the_pointer_as_dvc_add_does(project: Project) -> None:
    project.write("models/a.pt", "one")
    project.devml("snapshot")
    text = "# mine\n" + project.read("models/a.pt.dvc") + "  desc: first  # good\nmeta:\n  run: 7\n"
    project.write("models/a.pt.dvc", text)
    project.write("models/a.pt", "two, longer")
    copy = project.path.with_name("copy")
    shutil.copytree(project.path, copy, symlinks=True)
    project.devml("snapshot")
    Project(copy, differential=False).dvc("add", "-q", "models/a.pt")
    ours = project.read("models/a.pt.dvc")
    assert without_note(ours) == without_note((copy / "models/a.pt.dvc").read_text())
    assert vouched(ours) == sha256(b"two, longer")
    assert "# mine" in ours


def test_update_of_unchanged_content_changes_no_byte_of_a_canonical_pointer() -> None:
    content = Content("a" * 32, 5)
    text = pointers.new("x", content)
    assert pointers.updated(text, at("x.dvc", "x"), content) == text


def test_update_refuses_a_file_that_has_no_such_output() -> None:
    text = b"outs:\n- path: a b\n  hash: md5\n"
    with pytest.raises(Refused, match="has no output"):
        pointers.updated(text, at("x.dvc", "other"), Content("a" * 32, 1))


# -- legacy --------------------------------------------------------------------------------------


def test_pointer_without_hash_is_read_as_legacy() -> None:
    (pointer,) = pointers.read("x.dvc", f"outs:\n- md5: {OLD}\n  size: 3\n  path: x\n".encode())
    assert (pointer.hash_name, pointer.oid) == (LEGACY, OLD)


def legacy_pointer(name: str, text: bytes) -> str:
    oid = md5(text.replace(b"\r\n", b"\n"))
    return f"outs:\n- md5: {oid}\n  size: {len(text)}\n  path: {name}\n"


def legacy_artifact(project: Project) -> str:
    """Make an artifact as DVC 2 left it, content in the cache's old layout; return its pointer."""
    text = b"a line\r\nand another\r\n" * 40
    oid = md5(text.replace(b"\r\n", b"\n"))
    project.write("models/old.txt", text)
    pointer = legacy_pointer("old.txt", text)
    project.write("models/old.txt.dvc", pointer)
    place = project.cache.parent.parent / oid[:2] / oid[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(text)
    return pointer


def test_legacy_artifact_with_crlf_text_is_clean(project: Project) -> None:
    legacy_artifact(project)
    assert project.states() == {"models/old.txt": "clean"}
    project.agree()


def test_clean_legacy_artifact_is_not_migrated_by_a_snapshot(project: Project) -> None:
    pointer = legacy_artifact(project)
    project.devml("snapshot")
    assert project.read("models/old.txt.dvc") == pointer


def test_changed_legacy_artifact_is_migrated_to_md5_as_by_dvc(project: Project) -> None:
    old = b"old\r\n"
    project.write("models/old.txt", old)
    project.write("models/old.txt.dvc", legacy_pointer("old.txt", old))
    project.write("models/old.txt", b"new\r\n")
    copy = project.path.with_name("copy")
    shutil.copytree(project.path, copy, symlinks=True)
    project.devml("snapshot")
    Project(copy, differential=False).dvc("commit", "-q", "-f", "models/old.txt.dvc")
    ours = project.read("models/old.txt.dvc")
    assert without_note(ours) == (copy / "models/old.txt.dvc").read_text()
    assert vouched(ours) == sha256(b"new\r\n")
    assert f"md5: {md5(b'new' + bytes([13, 10]))}" in project.read("models/old.txt.dvc")


# -- dvc.lock ------------------------------------------------------------------------------------

DVC_YAML = """\
stages:
  prep:
    cmd: python prep.py
    deps: [prep.py]
    params: [seed]
    outs: [clean.csv, parts]
  train:
    cmd: python train.py
    deps: [clean.csv, train.py]
    outs:
    - model.pt
    - other.pt:
        push: false
    metrics:
    - metrics.json:
        cache: false
"""


@pytest.fixture
def pipeline(project: Project) -> Project:
    """A pipeline that stock DVC has run once, committed."""
    project.write("dvc.yaml", DVC_YAML)
    project.write("params.yaml", "seed: 1\n")
    project.write(
        "prep.py",
        "import os\nopen('clean.csv','w').write('clean')\nos.makedirs('parts')\n"
        "open('parts/1','w').write('1')\n",
    )
    project.write(
        "train.py",
        "for n in ('model.pt', 'other.pt'):\n    open(n,'w').write(n)\nopen('metrics.json','w').write('{}')\n",
    )
    project.dvc("repro", "-q")
    project.commit("ran")
    return project


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [x for x in lines if not x.startswith(("---", "+++", "@@"))]


def test_pipeline_outputs_are_read_from_the_lock(pipeline: Project) -> None:
    assert pipeline.states() == dict.fromkeys(
        ["clean.csv", "model.pt", "other.pt", "parts"], "clean"
    )


def test_changed_output_changes_only_its_own_lines_of_the_lock(pipeline: Project) -> None:
    before = pipeline.read("dvc.lock")
    pipeline.write("model.pt", "made by hand, and longer")
    pipeline.devml("snapshot")
    assert changed_lines(before, pipeline.read("dvc.lock")) == [
        f"-      md5: {md5(b'model.pt')}",
        "-      size: 8",
        f"+      md5: {md5(b'made by hand, and longer')}",
        "+      size: 24",
    ]


def test_changed_output_leaves_dependencies_params_and_run_cache_alone(pipeline: Project) -> None:
    runs = pipeline.cache.parent.parent / "runs"
    before = sorted(p.name for p in runs.rglob("*"))
    pipeline.write("clean.csv", "edited by hand")
    pipeline.write("params.yaml", "seed: 2\n")
    pipeline.devml("snapshot")
    lock = pipeline.read("dvc.lock")
    assert "seed: 1" in lock
    assert f"md5: {md5(b'clean')}" in lock  # as the dependency of train, still what it ran with
    assert sorted(p.name for p in runs.rglob("*")) == before


def test_update_of_a_lock_equals_dvc_commits_but_for_what_it_may_not_bless(
    pipeline: Project,
) -> None:
    pipeline.write("model.pt", "by hand")
    (pipeline.path / "parts" / "2").write_text("22")
    copy = pipeline.path.with_name("copy")
    shutil.copytree(pipeline.path, copy, symlinks=True)
    pipeline.devml("snapshot")
    Project(copy, differential=False).dvc("commit", "-q", "-f")
    assert pipeline.read("dvc.lock") == (copy / "dvc.lock").read_text()


def test_output_of_a_lock_that_the_pipeline_does_not_cache_is_no_artifact() -> None:
    text = (
        "schema: '2.0'\nstages:\n  s:\n    cmd: x\n    outs:\n"
        f"    - path: m.json\n      hash: md5\n      md5: {OLD}\n      size: 2\n"
    )

    def read(out: PipelineOut) -> list[Pointer]:
        said = {"dvc.lock": {(out.stage, out.written): out}}
        return pointers.read("dvc.lock", text.encode(), said)

    out = PipelineOut("s", "m.json", "m.json", "s")
    assert pointers.read("dvc.lock", text.encode(), {}) == []
    assert read(replace(out, cached=False)) == []
    assert read(replace(out, stage="another")) == []
    assert read(replace(out, written="another")) == []
    (found,) = read(replace(out, path="sub/m.json", push=False))
    assert (found.path, found.stage, found.push) == ("sub/m.json", "s", False)


def test_comment_in_a_lock_survives_an_update() -> None:
    text = (
        "schema: '2.0'\nstages:\n  s:\n    cmd: x  # why\n    outs:\n    # this one\n"
        f"    - path: m\n      hash: md5\n      md5: {OLD}\n      size: 2\n"
    )
    pointer = replace(at("dvc.lock", "m"), entry=("s", "m"))
    after = pointers.updated(text.encode(), pointer, Content("b" * 32, 2)).decode()
    assert after == text.replace(OLD, "b" * 32)


# -- left alone ----------------------------------------------------------------------------------

LEFT_ALONE = {
    "import": (
        f"md5: {OLD}\nfrozen: true\ndeps:\n- etag: '1'\n  size: 3\n  path: https://example.org/x\n"
        f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: x.pt\n"
    ),
    "import of a file": (
        f"deps:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: /somewhere/x\n"
        f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: x.pt\n"
    ),
    "cloud-versioned": (
        f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: x.pt\n"
        "  cloud:\n    s3:\n      etag: e\n      version_id: v\n"
    ),
    "version-id": f"outs:\n- md5: {OLD}\n  size: 3\n  version_id: v\n  hash: md5\n  path: x.pt\n",
    "files": (
        f"outs:\n- size: 3\n  nfiles: 1\n  path: x.pt\n  files:\n  - relpath: a\n    md5: {OLD}\n"
        "    size: 3\n"
    ),
    "external-etag": "outs:\n- etag: abc\n  size: 3\n  hash: etag\n  path: s3://bucket/x.pt\n",
    "external-path": f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  path: /elsewhere/x.pt\n",
}


@pytest.mark.parametrize("kind", LEFT_ALONE)
def test_output_of_another_kind_is_left_alone_and_named_in_status(
    kind: str, project: Project
) -> None:
    project.differential = False
    project.write("x.pt.dvc", LEFT_ALONE[kind])
    project.write("x.pt", "lies here")
    project.write("models/a.pt", "ours")
    project.devml("snapshot")
    assert project.read("x.pt.dvc") == LEFT_ALONE[kind]
    assert project.bytes("x.pt") == b"lies here"
    found = project.status()
    assert [(u["path"], u["pointer"]) for u in found["unmanaged"]] == [("x.pt", "x.pt.dvc")]
    assert found["unmanaged"][0]["why"] in {"import", "cloud-versioned", "external"}
    assert [a["path"] for a in found["artifacts"]] == ["models/a.pt"]
    assert "left to dvc: x.pt" in project.devml("status").out


def test_output_without_cache_is_no_artifact() -> None:
    text = f"outs:\n- md5: {OLD}\n  size: 3\n  hash: md5\n  cache: false\n  path: m.json\n"
    assert pointers.read("m.json.dvc", text.encode()) == []


# -- malformed -----------------------------------------------------------------------------------

MALFORMED = {
    "not yaml": b"outs: [",
    "a list": b"- a\n",
    "outs a mapping": b"outs:\n  a: b\n",
    "out a string": b"outs:\n- a\n",
    "no path": b"outs:\n- md5: 0123456789abcdef0123456789abcdef\n",
    "path a number": b"outs:\n- path: 5\n",
    "path climbs out": b"outs:\n- path: ../../x\n  hash: md5\n",
    "wdir climbs out": b"wdir: ../..\nouts:\n- path: x\n  hash: md5\n",
    "path into .git": b"outs:\n- path: .git/config\n  hash: md5\n",
    "oid a number": b"outs:\n- md5: 12345678901234567890123456789012\n  path: x\n",
    "oid short": b"outs:\n- md5: abc\n  path: x\n",
    "oid a path": b"outs:\n- md5: ../../../../etc/passwd\n  path: x\n",
    "size negative": b"outs:\n- path: x\n  size: -1\n",
    "size a string": b"outs:\n- path: x\n  size: many\n",
    "size a boolean": b"outs:\n- path: x\n  size: true\n",
    "alias": b"a: &a [1]\nouts: *a\n",
    "tag": b"outs: !!python/object:os.system x\n",
    "deep": b"outs: " + b"[" * 60 + b"]" * 60,
    "not UTF-8": b"outs:\n- path: \xff\n",
    "control character": b'outs:\n- path: "a\\x1bb"\n  hash: md5\n',
    "too large": b"#" * ((16 << 20) + 1),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_pointer_is_refused_with_its_name(kind: str) -> None:
    with pytest.raises(Refused, match=r"^m/x\.dvc"):
        pointers.read("m/x.dvc", MALFORMED[kind])


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_pointer_is_reported_and_the_others_are_read(kind: str) -> None:
    good = pointers.new("good", Content("a" * 32, 1))
    found = pointers.collect([("x.dvc", MALFORMED[kind]), ("good.dvc", good)])
    assert list(found.pointers) == ["good"]
    assert [b.file for b in found.broken] == ["x.dvc"]


def test_conflicted_pointer_is_unmerged() -> None:
    text = b"outs:\n<<<<<<< HEAD\n- md5: a\n=======\n- md5: b\n>>>>>>> other\n  path: x\n"
    (broken,) = pointers.collect([("x.dvc", text)]).broken
    assert broken.unmerged


def test_two_pointers_for_one_path_are_reported() -> None:
    text = b"wdir: sub\nouts:\n- path: x\n  hash: md5\n"
    found = pointers.collect(
        [("sub/x.dvc", pointers.new("x", Content("a" * 32, 1))), ("y.dvc", text)]
    )
    assert [b.why for b in found.broken] == ["points to 'sub/x', and so does sub/x.dvc"]


def test_artifact_inside_an_artifact_is_reported() -> None:
    outer = pointers.new("d", Content("a" * 32 + ".dir", 1, 1))
    inner = pointers.new("x", Content("b" * 32, 1))
    found = pointers.collect([("d.dvc", outer), ("d/e/x.dvc", inner)])
    assert [b.file for b in found.broken] == ["d/e/x.dvc"]


# -- exec bits inside a directory ----------------------------------------------------------------


def test_exec_bits_of_members_are_kept_in_meta_bound_to_the_hash() -> None:
    content = Content("a" * 32 + ".dir", 9, 2, frozenset({"bin/run"}))
    text = pointers.new("d", content)
    (pointer,) = pointers.read("d.dvc", text)
    assert pointer.executable == {"bin/run"}
    other = text.replace(b"md5: " + b"a" * 32, b"md5: " + b"c" * 32, 1)
    (pointer,) = pointers.read("d.dvc", other)
    assert pointer.executable == frozenset()


def test_meta_of_ours_goes_when_the_exec_bits_go_and_the_users_stays() -> None:
    content = Content("a" * 32 + ".dir", 9, 2, frozenset({"run"}))
    text = pointers.new("d", content).replace(b"  meta:\n", b"  meta:\n    mine: 1\n")
    plain = Content("b" * 32 + ".dir", 9, 2)
    after = pointers.updated(text, at("d.dvc", "d"), plain).decode()
    assert "devml" not in after
    assert "mine: 1" in after
    after = pointers.updated(pointers.new("d", content), at("d.dvc", "d"), plain)
    assert after == pointers.new("d", plain)


def test_pointer_with_exec_bits_in_meta_is_valid_for_dvc(project: Project) -> None:
    place = project.write("data/run.sh", "#!/bin/sh\n")
    os.chmod(place, 0o755)
    project.devml("snapshot")
    assert "executable" in project.read("data.dvc")
    assert "up to date" in project.dvc("status").out
