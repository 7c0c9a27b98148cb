"""What git does by itself: which hooks fire when, and what they find. No line of devml-git runs.

devml-git is built on these facts. When a test fails here, git has changed, not devml-git. Seen
with git 2.39.5.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.world import Ran, run

if TYPE_CHECKING:
    from pathlib import Path

# Every hook appends one word to $FACTS, and then runs what $FACTS_DO says in it.
HOOK = """\
#!/bin/sh
event=${0##*/}
case $event in
pre-commit) word=pc ;;
prepare-commit-msg) word=pm ;;
post-commit) word=PC ;;
post-checkout) word="PO($3)" ;;
post-merge) word="PM($1)" ;;
post-rewrite) word="PR($1)" ;;
reference-transaction) word=rt ;;
post-index-change) word="ix$1" ;;
*) word=$event ;;
esac
echo "$word" >>"$FACTS"
eval "$FACTS_DO"
"""
EVENTS = (
    "pre-commit", "prepare-commit-msg", "post-commit", "post-checkout", "post-merge",
    "post-rewrite", "reference-transaction", "post-index-change", "pre-merge-commit", "pre-rebase",
    "applypatch-msg", "pre-applypatch", "post-applypatch", "pre-push",
)  # fmt: skip
NO_HOOKS = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": "/dev/null",
}
MAKE = """
git init -q -b main .
for n in 1 2 3; do
    echo $n >f; { seq 9; echo $n; } >g; echo 1 >p.dvc
    git add -A; git commit -qm c$n; git tag c$n
done
git checkout -q -b side c2; echo s >s; git add s; git commit -qm side
git checkout -q -b clash c2; echo clash >f; git commit -qam clash
git checkout -q -b topic c2
for n in 1 2; do echo $n >t$n; git add t$n; git commit -qm t$n; done
git checkout -q main
"""


@dataclass
class Facts:
    """A repository whose hooks write down that they ran."""

    path: Path
    log: Path

    def sh(self, script: str, *, hooks: bool = True, do: str = "", check: bool = False) -> Ran:
        env = {"FACTS": str(self.log), "FACTS_DO": do, **({} if hooks else NO_HOOKS)}
        return run("sh", "-ec", script, cwd=self.path, env=env, check=check)

    def words(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def said(self, start: str) -> list[str]:
        """Return the rest of the lines that begin with a word."""
        return [w.removeprefix(start).strip() for w in self.words() if w.startswith(start)]


@pytest.fixture(scope="session")
def facts_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("facts")
    identity = {"GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@e", "GIT_COMMITTER_NAME": "T",
                "GIT_COMMITTER_EMAIL": "t@e", "GIT_CONFIG_GLOBAL": "/dev/null"}  # fmt: skip
    run("sh", "-ec", MAKE, cwd=place, env=identity | NO_HOOKS)
    hooks = place / ".git" / "hooks"
    shutil.rmtree(hooks, ignore_errors=True)
    hooks.mkdir()
    for event in EVENTS:
        (hooks / event).write_text(HOOK)
        (hooks / event).chmod(0o755)
    return place


@pytest.fixture
def facts(facts_template: Path, tmp_path: Path) -> Facts:
    place = tmp_path / "repo"
    shutil.copytree(facts_template, place, symlinks=True)
    run("git", "update-index", "-q", "--refresh", cwd=place, env=NO_HOOKS)
    return Facts(place, tmp_path / "log")


# -- which hooks fire ----------------------------------------------------------------------------

REMOTE = "git clone -q --bare . ../remote; git remote add origin ../remote; git fetch -q"
CLASH = "git merge -q clash || true; echo both >f; git add f"
PICK = "git cherry-pick clash || true; echo both >f; git add f"
STASH = "echo x >f; git stash -q"
TEMPLATE = "mkdir ../template; cp -r .git/hooks ../template"
PATCHES = "git checkout -q -b old c2; git format-patch -q --stdout c2..topic >../patches"

# operation: (made ready by, run, hooks that fire). `ix1` is post-index-change with first argument
# 1; with 0 it fires for nearly everything, and only the rows that say so look at it.
ROWS = {
    "commit": ("echo x >f; git add f", "git commit -qm x", "pc pm PC rt"),
    "commit -a": ("echo x >f", "git commit -qam x", "pc pm PC rt"),
    "commit -i": ("echo x >f", "git commit -qm x -i f", "pc pm PC rt"),
    "commit FILE": ("echo x >f", "git commit -qm x -- f", "pc pm PC rt ix1"),
    "commit --no-verify": ("echo x >f", "git commit -qnam x", "pm PC rt"),
    "commit --dry-run": ("echo x >f", "git commit -qam x --dry-run", ""),
    "amend": ("", "git commit -q --amend --no-edit", "pc pm PC PR(amend) rt"),
    "amend --no-verify": ("", "git commit -qn --amend --no-edit", "pm PC PR(amend) rt"),
    "merge ff": ("git checkout -q -b old c1", "git merge -q --ff-only main", "PM(0) rt ix1"),
    "pull --ff": (
        f"{REMOTE}; git reset -q --hard c1",
        "git pull -q --ff-only origin main",
        "PM(0) rt ix1",
    ),
    "merge 3-way": ("", "git merge -q -m m side", "pre-merge-commit pm PM(0) rt ix1"),
    "merge octopus": ("", "git merge -q -m m side topic", "pre-merge-commit pm PM(0) rt ix1"),
    "pull 3-way": (REMOTE, "git pull -q --no-rebase origin side", "pre-merge-commit pm PM(0) rt ix1"),
    "merge that conflicts": ("", "git merge -q clash || true", "rt ix1"),
    "merge with conflict, then commit": (CLASH, "git commit -qm m", "pc pm PC rt"),
    "merge --continue": (CLASH, "git merge --continue", "pc pm PC rt"),
    "merge --squash": ("", "git merge -q --squash side", "PM(1) rt ix1"),
    "merge --no-commit": ("", "git merge -q --no-commit side", "rt ix1"),
    "merge --no-commit, then commit": (
        "git merge -q --no-commit side",
        "git commit -qm m",
        "pc pm PC rt",
    ),
    "merge --abort": ("git merge -q --no-commit side", "git merge --abort", "rt ix1"),
    "cherry-pick": ("", "git cherry-pick side", "pm PC ix1 rt"),
    "cherry-pick of many": ("", "git cherry-pick c2..topic", "pm PC ix1 rt"),
    "revert": ("", "git revert --no-edit c3", "pm PC ix1 rt"),
    "cherry-pick that conflicts": ("", "git cherry-pick clash || true", "ix1 rt"),
    "cherry-pick --continue": (PICK, "git cherry-pick --continue", "pc pm PC rt"),
    "cherry-pick --abort": (PICK, "git cherry-pick --abort", "ix1 rt"),
    "cherry-pick --skip": (PICK, "git cherry-pick --skip", "ix1 rt"),
    "cherry-pick -n": ("", "git cherry-pick -n side", "ix1"),
    "revert -n": ("", "git revert -n c3", "ix1 rt"),
    "read-tree -mu": ("", "git read-tree -mu c1", "ix1"),
    "rebase": (
        "git checkout -q topic",
        "git rebase -q main",
        "pre-rebase PO(1) pm PC PR(rebase) ix1 rt",
    ),
    "rebase that only moves on": (
        "git checkout -q -b old c1",
        "git rebase -q main",
        "pre-rebase PO(1) ix1 rt",
    ),
    "rebase --apply": (
        "git checkout -q topic",
        "git rebase -q --apply main",
        "pre-rebase PO(1) applypatch-msg pre-applypatch post-applypatch PR(rebase) ix1 rt",
    ),
    "rebase --abort": (
        "git checkout -q clash; git rebase -q main || true",
        "git rebase --abort",
        "ix1 rt",
    ),
    "rebase --abort --apply": (
        "git checkout -q clash; git rebase -q --apply main || true",
        "git rebase --abort",
        "ix1 rt",
    ),
    "rebase --skip of the last": (
        "git checkout -q clash; git rebase -q main || true",
        "git rebase --skip",
        "PR(rebase) ix1 rt",
    ),
    "pull --rebase": (
        f"{REMOTE}; git checkout -q topic",
        "git pull -q --rebase origin main",
        "pre-rebase PO(1) pm PC PR(rebase) ix1 rt",
    ),
    "am": (PATCHES, "git am -q ../patches", "applypatch-msg pre-applypatch post-applypatch rt"),
    "am --abort": (
        f"{PATCHES}; echo x >t2; git add t2; git commit -qm x; git am -q ../patches || true",
        "git am --abort",
        "ix1 rt",
    ),
    "commit-tree": ("", "git update-ref refs/heads/x $(git commit-tree -m x HEAD^{tree})", "rt"),
    "update-ref": ("", "git update-ref refs/heads/x c1", "rt"),
    "branch -f": ("", "git branch -f side c1", "rt"),
    "tag": ("", "git tag x", "rt"),
    "notes": ("", "git notes add -m x", "rt"),
    "fetch": (f"{REMOTE}; git update-ref -d refs/remotes/origin/side", "git fetch -q", "rt"),
    "push": (f"{REMOTE}; git commit -qm x --allow-empty", "git push -q origin main", "pre-push rt"),
    "push, up to date": (REMOTE, "git push -q origin main", "pre-push rt"),
    "push --no-verify": (
        f"{REMOTE}; git commit -qm x --allow-empty",
        "git push -q --no-verify origin main",
        "rt",
    ),
    "checkout branch": ("", "git checkout -q side", "PO(1) ix1"),
    "checkout --detach": ("", "git checkout -q --detach c1", "PO(1) ix1 rt"),
    "switch branch": ("", "git switch -q side", "PO(1) ix1"),
    "checkout -b": ("", "git checkout -q -b new", "PO(1) ix1 rt"),
    "checkout same branch": ("", "git checkout -q main", "PO(1) ix1"),
    "checkout --orphan": ("", "git checkout -q --orphan new", "PO(1) ix1"),
    "checkout -- p": ("echo x >f", "git checkout -q -- f", "PO(0)"),
    "checkout REV -- p": ("", "git checkout -q c1 -- f", "PO(0)"),
    "restore p": ("echo x >f", "git restore f", "PO(0)"),
    "restore -s REV p": ("", "git restore -s c1 f", "PO(0)"),
    "restore --staged p": ("echo x >f; git add f", "git restore --staged f", "PO(0)"),
    "reset --hard": ("", "git reset -q --hard c1", "rt ix1"),
    "reset --keep": ("", "git reset -q --keep c1", "rt ix1"),
    "reset --merge": ("", "git reset -q --merge c1", "rt ix1"),
    "reset --soft": ("", "git reset -q --soft c1", "rt"),
    "reset --mixed": ("", "git reset -q c1", "rt"),
    "reset REV -- p": ("", "git reset -q c1 -- f", ""),
    "stash push": ("echo x >f", "git stash -q", "rt ix1"),
    "stash push -u": ("echo x >n", "git stash -q -u", "rt ix1"),
    "stash pop": (STASH, "git stash pop -q", "ix1 rt"),
    "stash apply": (STASH, "git stash apply -q", "ix1"),
    "stash branch": (STASH, "git stash branch new", "PO(1) ix1 rt"),
    "stash drop": (STASH, "git stash drop -q", "rt"),
    "worktree add": ("", "git worktree add -q ../linked side", "PO(1) ix1 rt"),
    "worktree add --no-checkout": ("", "git worktree add -q --no-checkout ../linked side", ""),
    "worktree remove": (
        "git worktree add -q ../linked side",
        "git worktree remove ../linked",
        "",
    ),
    "bisect start": ("", "git bisect start topic c1", "PO(1) ix1 rt"),
    "bisect step": ("git bisect start topic c1", "git bisect bad", "PO(1) ix1 rt"),
    "bisect reset": ("git bisect start topic c1", "git bisect reset", "PO(1) ix1 rt"),
    "clone with template": (TEMPLATE, "git clone -q --template=../template . ../clone", "PO(1) ix1 rt"),
    "clone": ("", "git clone -q . ../clone", ""),
    "fast-import": ("", "git fast-export c1 | sed s,tags/c1,heads/x, | git fast-import --quiet", "rt"),
    "checkout-index": ("rm f", "git checkout-index f", ""),
    "clean": ("echo x >n", "git clean -fdq", ""),
    "gc": ("", "git gc -q", "rt"),
    "rm": ("", "git rm -q f", ""),
    "mv": ("", "git mv f h", ""),
}  # fmt: skip


@pytest.mark.parametrize("operation", ROWS)
def test_hooks_that_fire(facts: Facts, operation: str) -> None:
    ready, does, expected = ROWS[operation]
    facts.sh(ready, hooks=False, check=True)
    ran = facts.sh(does)
    assert ran.status == 0, ran.err
    assert set(facts.words()) - {"ix0"} == set(expected.split())


@pytest.mark.parametrize(
    ("ready", "does", "arguments"),
    [
        ("", "git sparse-checkout set --no-cone f", "0 0"),
        ("touch f", "git status", "0 0"),
        ("echo x >f", "git add f", "0 0"),
        ("", "git reset -q c1", "0 1"),
        ("", "git reset -q --hard c1", "1 0"),
        ("", "git checkout -q side", "1 0"),
    ],
)
def test_arguments_of_post_index_change(
    facts: Facts, ready: str, does: str, arguments: str
) -> None:
    facts.sh(ready, hooks=False)
    facts.sh(does, do='[ $event != post-index-change ] || echo "args $1 $2" >>"$FACTS"')
    assert set(facts.said("args")) == {arguments}


def test_worktree_add_and_clone_come_from_no_commit(facts: Facts) -> None:
    do = '[ $event != post-checkout ] || echo "old $1 in $(pwd)" >>"$FACTS"'
    facts.sh("git worktree add -q ../linked side", do=do, check=True)
    facts.sh(f"{TEMPLATE}; git clone -q --template=../template . ../clone", do=do, check=True)
    parent = facts.path.parent
    assert facts.said("old") == [f"{'0' * 40} in {parent / d}" for d in ("linked", "clone")]


@pytest.mark.parametrize(("ahead", "lines"), [("git commit -qm x --allow-empty", 1), ("", 0)])
def test_pre_push_gets_a_line_for_each_ref(facts: Facts, ahead: str, lines: int) -> None:
    facts.sh(f"{REMOTE}; {ahead}", hooks=False, check=True)
    facts.sh("git push -q origin main", do='[ $event != pre-push ] || sed "s/^/ref /" >>"$FACTS"')
    assert len(facts.said("ref")) == lines


def test_stash_push_tells_of_the_worktree_twice(facts: Facts) -> None:
    facts.sh("echo x >f; git stash -q -u")
    assert 1 <= facts.words().count("ix1") <= 2


def test_post_index_change_comes_before_head_moves(facts: Facts) -> None:
    do = '[ "$event$1" != post-index-change1 ] || echo "head $(git rev-parse HEAD)" >>"$FACTS"'
    before = facts.sh("git rev-parse HEAD").out.strip()
    for does in ("git checkout -q c1", "git checkout -q main", "git reset -q --hard c1"):
        before = facts.sh("git rev-parse HEAD").out.strip()
        facts.log.unlink(missing_ok=True)
        facts.sh(does, do=do, check=True)
        assert set(facts.said("head")) == {before}


def test_post_merge_runs_while_merge_head_is_there(facts: Facts) -> None:
    do = '[ $event != post-merge ] || [ ! -f .git/MERGE_HEAD ] || echo "merge-head" >>"$FACTS"'
    facts.sh("git merge -q -m m side", do=do, check=True)
    assert "merge-head" in facts.words()


def test_git_commands_of_a_hook_fire_hooks(facts: Facts) -> None:
    do = "[ $event != post-commit ] || git reset -q --hard"
    facts.sh("git commit -q --allow-empty -m x", do=do, check=True)
    assert "ix1" in facts.words()


# -- staging pointers from pre-commit ------------------------------------------------------------

STAGE = """
[ $event != pre-commit ] || {
    echo "index $GIT_INDEX_FILE" >>"$FACTS"
    echo 2 >p.dvc
    git add p.dvc
}
"""


@pytest.mark.parametrize(
    ("form", "index", "left"),
    [
        ("git add f; git commit -qm x", ".git/index", ""),
        ("git commit -qam x", ".git/index.lock", ""),
        ("git commit -qm x -i f", ".git/index.lock", ""),
        ("git commit -qm x -- f", ".git/next-index-", "MM p.dvc\n"),
        ("git commit -qm x --amend -- f", ".git/next-index-", "MM p.dvc\n"),
    ],
    ids=["plain", "-a", "-i", "path", "amend path"],
)
def test_file_staged_by_pre_commit_is_in_the_commit(
    facts: Facts, form: str, index: str, left: str
) -> None:
    facts.sh(f"echo x >f; {form}", do=STAGE, check=True)
    (where,) = facts.said("index")
    assert where == index or where.startswith(f"{facts.path / index}")
    assert facts.sh("git show HEAD:p.dvc").out == "2\n"
    assert facts.sh("git status --porcelain").out == left


def test_next_commit_reverts_what_a_partial_commit_left_in_the_real_index(facts: Facts) -> None:
    facts.sh("echo x >f; git commit -qm x -- f", do=STAGE, check=True)
    facts.sh("git commit -qm next", hooks=False, check=True)
    assert facts.sh("git show HEAD:p.dvc").out == "1\n"


@pytest.mark.parametrize(
    ("form", "status", "in_index"),
    [("", 1, "2"), ("-a", 1, "1"), ("--allow-empty", 0, "2")],
    ids=["plain", "-a", "allow-empty"],
)
def test_nothing_but_what_the_hook_staged(
    facts: Facts, form: str, status: int, in_index: str
) -> None:
    ran = facts.sh(f"git commit {form} -m x", do=STAGE)
    assert ran.status == status
    assert ("nothing to commit" in ran.out) == (status == 1)
    assert facts.sh("git show :p.dvc").out.strip() == in_index
    assert (facts.path / "p.dvc").read_text() == "2\n"
    if status:
        facts.sh(f"git commit {form} -m x", do=STAGE, check=True)
    assert facts.sh("git show HEAD:p.dvc").out == "2\n"


def test_pre_merge_commit_stages_too_late(facts: Facts) -> None:
    do = "[ $event != pre-merge-commit ] || { echo 2 >p.dvc; git add p.dvc; }"
    facts.sh("git merge -q -m m side", do=do, check=True)
    assert facts.sh("git show HEAD:p.dvc").out == "1\n"


# -- half-way: rebase and am ---------------------------------------------------------------------

WHERE = """
case $event in
post-checkout | post-commit | post-rewrite | post-applypatch)
    found=
    for d in rebase-merge rebase-apply; do
        [ ! -d "$(git rev-parse --git-path $d)" ] || found=$d
    done
    echo "$event:$found" >>"$FACTS" ;;
esac
"""


@pytest.mark.parametrize(
    ("backend", "at_checkout", "at_rewrite"),
    [("--merge", "rebase-merge", "rebase-merge"), ("--apply", "", "rebase-apply")],
)
def test_directory_of_a_rebase_in_the_hooks(
    facts: Facts, backend: str, at_checkout: str, at_rewrite: str
) -> None:
    facts.sh("git checkout -q topic", hooks=False)
    facts.sh(f"git rebase -q {backend} main", do=WHERE, check=True)
    assert facts.said("post-checkout:") == [at_checkout]
    assert facts.said("post-rewrite:") == [at_rewrite]
    if backend == "--merge":
        assert facts.said("post-commit:") == ["rebase-merge"] * 2


def test_at_its_last_patch_am_still_has_its_directory(facts: Facts) -> None:
    facts.sh(PATCHES, hooks=False, check=True)
    do = """
    [ $event != post-applypatch ] ||
        echo "patch $(cat .git/rebase-apply/next) of $(cat .git/rebase-apply/last)" >>"$FACTS"
    """
    facts.sh("git am -q ../patches", do=do, check=True)
    assert facts.said("patch") == ["1 of 2", "2 of 2"]
    assert not (facts.path / ".git/rebase-apply").exists()


def test_edit_stop_and_exec_of_a_rebase_are_half_way(facts: Facts) -> None:
    facts.sh("git checkout -q topic", hooks=False)
    facts.sh(
        "git rebase -q --exec 'ls -d .git/rebase-merge >>\"$FACTS\"' main", do=WHERE, check=True
    )
    assert facts.words().count(".git/rebase-merge") == 2


# -- what a hook finds ---------------------------------------------------------------------------

SURROUNDINGS = 'echo "$event: $(pwd) ${GIT_PREFIX-unset} $GIT_DIR" >>"$FACTS"'


@pytest.mark.parametrize(
    ("does", "event"),
    [
        ("git commit -q --allow-empty -m x", "pre-commit"),
        ("git checkout -q side", "post-checkout"),
        ("git merge -q -m m side", "post-merge"),
        ("git reset -q --hard c1", "post-index-change"),
    ],
)
def test_hooks_run_at_the_root_with_the_prefix(facts: Facts, does: str, event: str) -> None:
    facts.sh("mkdir sub; touch sub/k; git add .; git commit -qm sub; git tag sub", hooks=False)
    facts.sh(f"cd sub; {does}", do=SURROUNDINGS, check=True)
    root, prefix, *_ = facts.said(f"{event}:")[-1].split(" ")
    assert root == str(facts.path)
    assert prefix == "sub/"


@pytest.mark.parametrize("event", ["pre-commit", "post-commit", "post-checkout"])
def test_linked_worktree_gets_absolute_directories(facts: Facts, event: str) -> None:
    facts.sh("git worktree add -q ../linked side", hooks=False, check=True)
    do = 'echo "$event: $GIT_DIR $GIT_INDEX_FILE" >>"$FACTS"'
    facts.sh(
        "cd ../linked; git commit -q --allow-empty -m x; git checkout -q -b y c1", do=do, check=True
    )
    own = facts.path / ".git/worktrees/linked"
    git_dir, *index = facts.said(f"{event}:")[-1].split(" ")
    assert git_dir == str(own)
    assert index == ([str(own / "index")] if "commit" in event else [])


@pytest.mark.parametrize(
    ("event", "does", "status"),
    [
        ("post-checkout", "git checkout -q side", 1),
        ("post-checkout", "git switch -q side", 1),
        ("post-checkout", "git worktree add -q ../linked side", 3),
        ("post-checkout", "git checkout -q c1 -- f", 3),
        ("post-merge", "git merge -q -m m side", 0),
        ("post-commit", "git commit -q --allow-empty -m x", 0),
        ("post-rewrite", "git commit -q --allow-empty --amend --no-edit", 0),
        ("post-index-change", "git reset -q --hard c1", 0),
    ],
)
def test_exit_status_of_a_hook_that_comes_after(
    facts: Facts, event: str, does: str, status: int
) -> None:
    assert facts.sh(does, do=f"[ $event != {event} ] || exit 3").status == status


def test_dot_git_is_a_file_in_linked_worktrees(facts: Facts) -> None:
    facts.sh("git worktree add -q ../linked side", hooks=False, check=True)
    linked = facts.path.parent / "linked"
    assert (linked / ".git").is_file()
    asked = run("git", "rev-parse", "--git-path", "rebase-merge", cwd=linked).out.strip()
    assert asked == os.fspath(facts.path / ".git/worktrees/linked/rebase-merge")
