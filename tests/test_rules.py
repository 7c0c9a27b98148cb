"""Track rules: written down as meant, meaning what git means by them, and git never takes content."""

from __future__ import annotations

from pathlib import Path

import pytest

from devml_git import rules
from devml_git.errors import UsageError
from devml_git.plumbing import Git, anchored
from devml_git.rules import Rules, covering, literal_line, normalise
from tests.world import Project, run


@pytest.fixture
def git(tmp_path: Path) -> Git:
    run("git", "init", "-q", cwd=tmp_path)
    return Git.discover(tmp_path)


def make(root: Path, *paths: str) -> None:
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(path)


def found(git: Git, *patterns: str) -> set[str]:
    return {f"{p}/" if is_dir else p for p, is_dir in Rules(git.top, patterns).find(git)}


# -- normalise -----------------------------------------------------------------------------------

EXISTING = (
    "data/a.csv",
    "models/clf.pt",
    "top.pt",
    "sub/here.pt",
    "sub/deep/x.bin",
    "odd[1].pt",
    "a\\b",
)


@pytest.mark.parametrize(
    ("pattern", "prefix", "rule"),
    [
        ("data/", "", "/data/"),
        ("data", "", "/data/"),
        ("./data", "", "/data/"),
        ("top.pt", "", "/top.pt"),
        ("absent.pt", "", "absent.pt"),
        ("*.pt", "", "*.pt"),
        ("models/**", "", "models/**"),
        ("models/clf.pt", "", "models/clf.pt"),
        ("models", "", "/models/"),
        ("later/", "", "later/"),
        ("!models/keep.pt", "", "!models/keep.pt"),
        ("!top.pt", "", "!/top.pt"),
        ("here.pt", "sub/", "sub/here.pt"),
        ("deep", "sub/", "sub/deep/"),
        ("*.pt", "sub/", "sub/**/*.pt"),
        ("deep/*.bin", "sub/", "sub/deep/*.bin"),
        ("absent", "sub/", "sub/**/absent"),
        ("../top.pt", "sub/", "/top.pt"),
        ("../data/", "sub/", "/data/"),
        ("../models/*.pt", "sub/", "models/*.pt"),
        ("deep/../here.pt", "sub/", "sub/here.pt"),
        ("odd[1].pt", "", "/odd\\[1\\].pt"),
        ("a\\b", "", "/a\\\\b"),
        ("/top.*", "", "/top.*"),
        ("/data/", "", "/data/"),
        ("/later/*.pt", "", "/later/*.pt"),
        ("/*.pt", "sub/", "sub/*.pt"),
    ],
)
def test_rule_is_written_relative_to_the_root_and_anchored_where_it_names_a_path(
    pattern: str, prefix: str, rule: str, tmp_path: Path
) -> None:
    make(tmp_path, *EXISTING)
    assert normalise(pattern, prefix, tmp_path) == rule


@pytest.mark.parametrize(
    ("name", "rule"), [("data", "/data/"), ("top.pt", "/top.pt"), ("sub/here.pt", "/sub/here.pt")]
)
@pytest.mark.parametrize("prefix", ["", "sub/"])
def test_absolute_path_becomes_relative_to_the_root(
    name: str, rule: str, prefix: str, tmp_path: Path
) -> None:
    make(tmp_path, *EXISTING)
    assert normalise(str(tmp_path / name), prefix, tmp_path) == rule


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("../x", ""), ("..", ""), ("../../x", "sub/"), ("/etc/passwd", ""), ("a/../../x", "")],
)
def test_path_outside_the_repository_is_refused(pattern: str, prefix: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="outside of the repository"):
        normalise(pattern, prefix, tmp_path)


@pytest.mark.parametrize("pattern", ["", "!", "./", "a\nb", "a\0b", "a\x1bb", "a\u202eb"])
def test_what_is_no_pattern_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a pattern"):
        normalise(pattern, "", tmp_path)


def test_name_of_two_hundred_characters_is_a_pattern(tmp_path: Path) -> None:
    assert normalise("n" * 200, "", tmp_path) == "n" * 200


@pytest.mark.parametrize(
    "name", ["trailing space ", "a\\b", "odd[1].pt", "#x", "*", "?", "ends\\", "!x"]
)
def test_name_that_exists_is_meant_literally(name: str, git: Git) -> None:
    make(git.top, name, "other", "oddx.pt")
    assert found(git, normalise(f"./{name}", "", git.top)) == {name}


# -- find: what git itself would ignore ----------------------------------------------------------

TREE = (
    "models/clf.pt", "models/sub/deep.pt", "models/notes.txt", "models/README.md", "models/clf.pt.dvc",
    "models/.gitignore", "a.pt", "b.bin", "src/train.py", "src/cache.pt", "data/x.csv", "data/sub/y.csv",
    "out/1.bin", "out/2.bin", "out/2.txt", "ckpt-1", "ckpt-2", "ckpt-x/file", "a/b.pt", "a/x/b.pt",
    "a/x/y/b.pt", "a/x/c.pt", "with space.pt", "é.pt", "#hash.pt", "x[1].pt", "README.pt", "deep/data/z",
)  # fmt: skip
PATTERN_SETS = [
    ("models/**",), ("models/*",), ("*.pt",), ("/*.pt",), ("out/*.bin",), ("ckpt-*",), ("a/**/b.pt",),
    ("**/b.pt",), ("*.pt", "!src/*.pt"), ("models/**", "!models/notes.txt"), ("*.p?",), ("[ab].*",),
    ("[!a].bin",), ("\\#hash.pt",), ("x\\[1\\].pt",), ("with space.pt",), ("a/*/b.pt",), ("*.bin", "*.csv"),
    ("nothing-matches",), ("src/cache.pt",), ("/a/x/**",), ("**/*.csv",), ("*",), ("!a.pt", "*.pt"),
]  # fmt: skip


@pytest.mark.parametrize("patterns", PATTERN_SETS, ids=" ".join)
def test_find_is_what_git_would_ignore_less_what_stays_visible(
    patterns: tuple[str, ...], git: Git
) -> None:
    make(git.top, *TREE)
    ours = found(git, *patterns)
    # git's own word on each file; `P` matching a directory must not swallow what lies in it
    lines = []
    for pattern in patterns:
        lines += [pattern] if pattern.startswith("!") else [pattern, f"!{pattern}/"]
    (git.top / ".gitignore").write_text("".join(f"{line}\n" for line in lines))
    (git.top / "models" / ".gitignore").unlink()
    asked = "".join(f"{name}\0" for name in TREE if name != "models/.gitignore")
    ignored = run(
        "git", "check-ignore", "--no-index", "-z", "--stdin", cwd=git.top, stdin=asked, check=False
    ).out
    expected = {name for name in ignored.split("\0") if name}
    visible = {
        n for n in expected if n.endswith(".dvc") or n.split("/")[-1].startswith(("README", ".git"))
    }
    assert ours == expected - visible


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("data/",), {"data/", "deep/data/"}),
        (("/data/",), {"data/"}),
        (("data",), {"data/", "deep/data/"}),
        (("deep/data/",), {"deep/data/"}),
        (("a/*/",), {"a/x/"}),
        (("data/", "*.csv"), {"data/", "deep/data/"}),
        (("/data/", "*.pt", "!*.pt"), {"data/"}),
    ],
)
def test_directory_rule_makes_one_artifact(
    patterns: tuple[str, ...], expected: set[str], git: Git
) -> None:
    make(git.top, *TREE)
    assert found(git, *patterns) == expected


def test_directory_rule_never_enters_private_directories(git: Git) -> None:
    make(git.top, ".dvc/cache/data/x", "sub/.git/data/x")
    assert found(git, "data/") == set()


@pytest.mark.parametrize("patterns", PATTERN_SETS, ids=" ".join)
def test_match_agrees_with_find(patterns: tuple[str, ...], git: Git) -> None:
    make(git.top, *TREE)
    ours = found(git, *patterns)
    some = Rules(git.top, patterns)
    assert {name for name in TREE if some.match(name)} == ours


def test_artifact_inside_a_directory_artifact_is_not_found_twice(git: Git) -> None:
    make(git.top, "data/x.pt", "y.pt")
    assert found(git, "/data/", "*.pt") == {"data/", "y.pt"}


def test_no_rules_find_nothing(git: Git) -> None:
    make(git.top, "x")
    assert not Rules(git.top, ())
    assert found(git) == set()


# -- virtual environments ------------------------------------------------------------------------


def test_ignored_virtual_environment_is_not_entered_by_an_unanchored_rule(git: Git) -> None:
    make(git.top, ".venv/lib/model.safetensors", "models/m.safetensors", "build/x.safetensors")
    (git.top / ".gitignore").write_text(".venv/\n/build/\n")
    assert found(git, "*.safetensors") == {"models/m.safetensors"}


def test_directory_in_which_all_is_ignored_is_still_entered(git: Git) -> None:
    make(git.top, "runs/1/m.pt", "runs/2/m.pt", "runs/.venv/m.pt", "x/m.pt")
    (git.top / ".gitignore").write_text("*.pt\n.venv/\n")
    assert found(git, "*.pt") == {"runs/1/m.pt", "runs/2/m.pt", "x/m.pt"}


def test_ignored_directory_is_entered_by_a_rule_that_names_it(git: Git) -> None:
    make(git.top, "build/x.safetensors", "other/y.safetensors")
    (git.top / ".gitignore").write_text("/build/\n/other/\n")
    assert found(git, "build/*.safetensors") == {"build/x.safetensors"}


def test_ignored_files_of_a_visible_directory_are_found(git: Git) -> None:
    make(git.top, "models/m.pt", "models/code.py")
    (git.top / ".gitignore").write_text("*.pt\n")
    assert found(git, "*.pt") == {"models/m.pt"}


# -- git add -A ----------------------------------------------------------------------------------

TAKEN = {
    "models/**": ("models/a.pt", "models/sub/b.pt", "models/sub/deep/c"),
    "models/*": ("models/a.pt", "models/b"),
    "*.pt": ("a.pt", "models/b.pt", "x/y/z.pt"),
    "data/": ("data/a.csv", "data/sub/b.csv"),
    "out/*.bin": ("out/a.bin", "out/b.bin"),
    "ckpt-*": ("ckpt-1", "sub/ckpt-2"),
    "a/**/b.pt": ("a/b.pt", "a/x/b.pt", "a/x/y/b.pt"),
    "**/weights": ("weights", "x/weights"),
    "runs/*/model.bin": ("runs/1/model.bin", "runs/2/model.bin"),
    "/top.*": ("top.pt", "top.bin"),
    "models/*/*": ("models/x/a.pt",),
    "big": ("sub/big", "x/y/big"),
    "m[0-9].bin": ("m1.bin", "s/m2.bin"),
    "é*": ("é.pt", "x/été"),
    "**": ("anything", "x/y"),
    "*": ("anything.pt", "x/y.pt"),
}
BESIDE = ("src/train.py", "models-of-thought.md", "out/notes.txt")


@pytest.mark.parametrize("before", [True, False], ids=["files first", "rule first"])
@pytest.mark.parametrize("pattern", TAKEN)
def test_add_all_never_takes_a_tracked_file_into_git(
    pattern: str, before: bool, project: Project
) -> None:
    project.differential = False
    paths = TAKEN[pattern]
    if before:
        make(project.path, *paths)
    project.devml("track", "--", pattern)
    make(project.path, *paths)
    project.git("add", "-A")
    git = Git.discover(project.path)
    assert set(paths) & set(git.names("ls-files", "-z")) == set()
    project.git("commit", "--allow-empty", "-qm", "all")
    in_git = set(git.names("ls-tree", "-r", "-z", "--name-only", "HEAD"))
    assert set(paths) & in_git == set()
    pointers = {"data.dvc"} if pattern == "data/" else {f"{p}.dvc" for p in paths}
    assert pointers <= in_git
    assert project.porcelain() == ""
    project.differential = True
    project.agree()


@pytest.mark.parametrize("pattern", [p for p in TAKEN if p not in {"*", "**", "data/"}])
def test_what_the_rule_does_not_match_stays_gits(pattern: str, project: Project) -> None:
    project.differential = False
    project.devml("track", "--", pattern)
    make(project.path, *BESIDE)
    project.git("add", "-A")
    assert set(BESIDE) <= set(Git.discover(project.path).names("ls-files", "-z"))


@pytest.mark.parametrize("pattern", ["models/**", "models/*", "*", "**", "models/*/*"])
def test_pointers_readmes_and_ignore_files_stay_visible_to_git(
    pattern: str, project: Project
) -> None:
    project.differential = False
    project.devml("track", "--", pattern)
    seen = (
        "models/README.md",
        "models/.gitignore",
        "models/x.dvc",
        "models/sub/README",
        "models/sub/y.dvc",
    )
    make(project.path, "models/sub/z.pt")
    for path in seen:
        project.write(path, "# text\n" if not path.endswith(".dvc") else "outs: []\n")
    ignored = run(
        "git", "check-ignore", "--no-index", *seen, cwd=project.path, check=False
    ).out.splitlines()
    assert ignored == []


def test_pointer_beside_any_tracked_file_can_be_added(project: Project) -> None:
    project.differential = False
    for pattern, paths in TAKEN.items():
        if pattern not in {"*", "**", "data/"}:
            project.devml("track", "--", pattern)
            pointers = [f"{p}.dvc" for p in paths]
            ignored = Git.discover(project.path).ignored(pointers)
            assert ignored == set(), pattern


def test_untracking_a_rule_takes_its_lines_out_again(project: Project) -> None:
    before = project.read(".gitignore")
    project.devml("track", "--", "runs/**")
    assert "runs/**" in project.read(".gitignore")
    project.devml("untrack", "runs/**")
    assert project.read(".gitignore") == before


# -- single lines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["a", "with space", "trailing ", "[a]", "a*b", "?", "#x", "!x", "a\\b", "é", "sub/x y"]
)
def test_literal_line_matches_that_path_alone(path: str, git: Git) -> None:
    make(git.top, path, "other", "sub/other", "axb")
    assert git.others_matching([literal_line(path, is_dir=False)]) == [path]


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/data/", "data", True),
        ("models/a.pt", "models/a.pt", True),
        ("/odd\\[1\\].pt", "odd[1].pt", True),
        ("models/*", "models/*", True),
        ("models/*", "models/a", False),
        ("*.pt", "a.pt", False),
        ("/data/", "data/x", False),
    ],
)
def test_rule_covers_a_path_only_when_it_names_exactly_that(
    pattern: str, path: str, expected: bool
) -> None:
    assert (covering([pattern], path) == pattern) is expected


def test_visible_names_are_what_the_module_says() -> None:
    assert {"*.dvc", "README*"} <= set(rules.VISIBLE)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("*.pt", "/a b/**/*.pt"),
        ("/data/", "/a b/data/"),
        ("data/", "/a b/**/data/"),
        ("models/**", "/a b/models/**"),
        ("!models/**/*.dvc", "!/a b/models/**/*.dvc"),
        ("# comment", "# comment"),
        ("", ""),
    ],
)
def test_line_of_a_subdirectory_means_the_same_at_the_root(line: str, seen: str) -> None:
    assert anchored(line, "a b/") == seen.replace("a b", "a\\ b")
    assert anchored(line, "") == line


@pytest.mark.parametrize("names", [("data/",), ("data/", "x.y-z_0/"), ("..a/", "é/")])
@pytest.mark.parametrize(
    "path", ["data/", "a/data/", "database/", "my data/", "data.d/", "Data/", "x.y-z_0/", "xoy-z_0/",
             "a/é/", "..a/", "b..a/"],
)  # fmt: skip
def test_names_alone_are_matched_as_pathspec_does(names: tuple[str, ...], path: str) -> None:
    assert all(rules._NAME.fullmatch(n) for n in names)
    assert rules._matcher(list(names))(path) is rules._spec(list(names)).match_file(path)


@pytest.mark.parametrize("name", ["#data/", "!data/", "da*/", "data /", "a/b/", "/data/", "[d]/"])
def test_what_gitignore_reads_otherwise_is_left_to_pathspec(name: str) -> None:
    assert not rules._NAME.fullmatch(name)


def test_untracking_one_of_several_outputs_takes_out_that_one_only(project: Project) -> None:
    project.differential = False
    for name in ("a.bin", "b.bin"):
        project.write(name, name)
    project.write("all.dvc", "# mine\nouts:\n- path: a.bin\n- path: b.bin  # kept\n")
    project.write(".gitignore", "/a.bin\n/b.bin\n")
    project.dvc("commit", "-q", "-f", "all.dvc")
    project.git("add", "-A")
    project.git("commit", "-qm", "both")
    before = project.read("all.dvc")
    project.devml("untrack", "a.bin")
    assert project.states() == {"b.bin": "clean"}
    assert "# mine" in project.read("all.dvc")
    assert "up to date" in project.dvc("status").out
    assert project.read("a.bin") == "a.bin"
    project.devml("undo")
    assert project.read("all.dvc") == before
    assert project.states() == {"a.bin": "clean", "b.bin": "clean"}
    project.devml("untrack", "--delete", "a.bin")
    assert not project.exists("a.bin")
    project.devml("untrack", "b.bin")
    assert not project.exists("all.dvc")
    project.devml("undo")
    project.devml("untrack", "all.dvc")
    assert not project.exists("all.dvc")
    assert project.states() == {}
