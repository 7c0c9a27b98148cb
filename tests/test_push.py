"""What `git push` publishes is complete: every shape of push, and what stops one."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from devml_git import pushing
from devml_git.workspace import Workspace
from tests.publish import REMOTE, World
from tests.remotes.remote import Remote
from tests.world import Ran, devml_process, run

SHAPES = {
    "a branch, three commits": "git push -q origin main",
    "the same again": "git push -q origin main; git push -q origin main",
    "a branch that is not checked out": "git push -q origin side",
    "several refs": "git push -q origin main side v3",
    "all branches": "git push -q --all",
    "all tags": "git push -q --tags",
    "a lightweight tag": "git push -q origin v2",
    "an annotated tag": "git tag -a -m t annotated v3; git push -q origin annotated",
    "a tag of a tag": "git tag -a -m t one v3; git tag -a -m t two one; git push -q origin two",
    "a tag of a blob": "git tag blob HEAD:train.py; git push -q origin blob",
    "a tag of a tree": "git tag -a -m t tree HEAD^{tree}; git push -q origin tree",
    "a tag on a commit of no branch": "git checkout -q --detach; commit x; git tag x; git checkout -q main; git push -q origin x",
    "a deletion": "git push -q origin main:gone; git push -q origin :gone",
    "a deletion and a new branch at once": "git push -q origin v2:gone; git push -q origin :gone main:fresh",
    "a deleted tag": "git push -q origin v2; git push -q origin --delete v2",
    "amended and forced": "git push -q origin main; change y; git commit -q --amend --no-edit -a; git push -q -f origin main",
    "forced with a lease": "git push -q origin main; git reset -q --hard v2; commit z; git push -q --force-with-lease origin main",
    "a plus in the refspec": "git push -q origin main; git reset -q --hard v1; commit z; git push -q origin +main",
    "by path": "git push -q ../bare main",
    "by URL": 'git push -q "file://$PWD/../bare" main',
    "by a push URL of its own": "git init -q --bare ../other; git config remote.origin.pushurl ../other; git push -q origin main; git -C ../bare fetch -q ../other main:main",
    "by insteadOf": 'git config "url.$PWD/../.insteadOf" here:; git push -q here:bare main',
    "to another git remote": "git remote add second ../bare; git push -q second main",
    "to a remote named like a branch": "git remote rename origin main; git push -q main main",
    "beside a file named like the branch": "echo x >side; git push -q origin side",
    "from a detached HEAD": "git checkout -q --detach; commit d; git push -q origin HEAD:refs/heads/d",
    "a commit by its id": "git push -q origin $(git rev-parse v3):refs/heads/x",
    "for review": "git push -q origin HEAD:refs/for/main",
    "notes": "git notes add -m n v3; git push -q origin refs/notes/commits main",
    "a stash": "echo more >>train.py; change s; git add -A; devml-git snapshot >/dev/null; git stash -q; git push -q origin refs/stash:refs/heads/wip",
    "a mirror": "git push -q --mirror",
    "following tags": "git tag -a -m t ann v3; git push -q --follow-tags origin main",
    "pruning": "git push -q origin main v2:old; git push -q --prune origin 'refs/heads/*'",
    "push.default matching": "git config push.default matching; git push -q",
    "push.default current": "git config push.default current; git push -q",
    "the upstream": "git config push.default upstream; git branch -q -u origin/main; git push -q",
    "setting the upstream": "git push -q -u origin main",
    "a push remote of the branch": "git remote add fork ../bare; git config branch.main.pushRemote fork; git push -q fork",
    "a default push remote": "git remote add fork ../bare; git config remote.pushDefault fork; git config push.default current; git push -q",
    "a colon": "git push -q origin :",
    "a wildcard": "git push -q origin 'refs/heads/*:refs/heads/w/*'",
    "atomically": "git push -q --atomic origin main side",
    "as porcelain": "git push --porcelain origin main >/dev/null",
    "a merge": "git checkout -q side; echo s >models/s.pt; git add -A; git commit -qm s 2>/dev/null || git commit -qm s; git merge -q -m m main; git push -q origin side",
    "a merge of three": "for b in p q; do git checkout -q -b $b v3; echo $b >models/$b.pt; devml-git commit -qm $b >/dev/null; done; git merge -q -m m p side main; git push -q origin q",
    "a merge with a change of its own": "git checkout -q side; git merge -q --no-commit main; change evil; devml-git commit -qam evil >/dev/null; git push -q origin side",
    "a revert": "git revert --no-edit v3 >/dev/null; git push -q origin main",
    "a cherry-pick": "git checkout -q -b pick v1; git cherry-pick v2 >/dev/null; git push -q origin pick",
    "a rebased branch": "git checkout -q -b topic v2; echo t >models/t.pt; devml-git commit -qm t >/dev/null; git rebase -q main; git push -q origin topic",
    "commits without any change": "git push -q origin main; git commit -q --allow-empty -m e; git push -q origin main",
    "code only": "git push -q origin main; echo c >>train.py; git commit -qam c; git push -q origin main",
    "a pointer deleted": "git rm -q models/a.pt.dvc; git commit -qm gone; git push -q origin main",
    "the middle ones of many": "for i in 4 5 6 7 8; do commit $i; done; git push -q origin main",
    "an orphan branch": "git checkout -q --orphan new; commit o; git push -q origin new",
    "from a linked worktree": "git worktree add -q ../linked -b linked v2 2>/dev/null; cd ../linked; echo l >models/a.pt; devml-git commit -qam l >/dev/null; git push -q origin linked",
    "from a subdirectory": "mkdir -p deep/er; cd deep/er; git push -q origin main",
    "from a shallow clone": "git push -q origin main; cd ..; git clone -q --depth 1 file://$PWD/bare shallow; cd shallow; devml-git init --trust >/dev/null 2>&1; echo sh >models/a.pt; devml-git commit -qam sh >/dev/null; git push -q origin main",
    "from a partial clone": "git push -q origin main; git -C ../bare config uploadpack.allowFilter true; cd ..; git clone -q --filter=blob:none file://$PWD/bare partial; cd partial; devml-git init --trust >/dev/null 2>&1; echo pa >models/a.pt; devml-git commit -qam pa >/dev/null; git push -q origin main",
    "a branch that the server deleted": "git push -q origin main:x; git fetch -q; git -C ../bare update-ref -d refs/heads/x; rm -rf ../store/files; git push -q -f origin main v3:refs/heads/y",
    "over an unknown commit": "git clone -q ../bare ../theirs; cd ../theirs; git commit -q --allow-empty -m t; git push -q; cd ../project; git push -q -f origin main",
    "a renamed artifact": "mv models/a.pt models/b.pt; devml-git commit -qam mv >/dev/null; git push -q origin main",
    "a moved pointer": "git mv models/a.pt.dvc models/c.pt.dvc; devml-git commit -qm mv >/dev/null; git push -q origin main",
    "a directory with many files": "for i in $(seq 300); do echo $i >data/$i; done; devml-git commit -qam many >/dev/null; git push -q origin main",
    "an empty file": ": >models/empty.pt; devml-git commit -qm empty >/dev/null; git push -q origin main",
    "one content twice": "cp models/a.pt models/twin.pt; devml-git commit -qm twin >/dev/null; git push -q origin main",
    "exec bits": "chmod +x data/x.csv; devml-git commit -qam x >/dev/null; git push -q origin main",
    "snapshots between commits": "change s; devml-git snapshot -m s >/dev/null; git push -q origin 'refs/devml/snapshots/*:refs/devml/snapshots/*'",
    "without hooks, then devml-git push": "git push -q --no-verify origin main; devml-git push -q origin main >/dev/null",
    "devml-git push": "devml-git push -q origin main side >/dev/null",
    "devml-git push of all": "devml-git push -q --all >/dev/null",
    "devml-git push, forced": "devml-git push -q origin main >/dev/null; git reset -q --hard v2; commit f; devml-git push -q -f origin main >/dev/null",
    "a commit by words of its message": "git commit -q --allow-empty -m 'two words'; commit x; git push -q origin 'HEAD^{/two words}:refs/heads/x'",
    "a branch with a line separator in its name": "b=$(printf 'a\\342\\200\\250b'); git branch $b v3; git push -q origin $b; git branch $b.c v2; devml-git push -q origin $b.c >/dev/null",
    "commits that git replace hides": "git replace v2 $(git commit-tree -p v1 -m x v1^{tree}); git push -q origin main",
    "an output that has left the cache since": "printf 'stages:\\n  s:\\n    cmd: cp train.py out.bin\\n    outs: [out.bin]\\n' >dvc.yaml; dvc repro -q; git add -A; git commit -qm p; printf 'stages:\\n  s:\\n    cmd: cp train.py out.bin\\n    outs: [{out.bin: {cache: false}}]\\n' >dvc.yaml; dvc repro -q -f; git add -A; git add -f out.bin; git commit -qm q; git push -q origin main",
    "a pipeline": "printf 'stages:\\n  s:\\n    cmd: cp train.py out.bin\\n    deps: [train.py]\\n    outs: [out.bin]\\n    metrics: [{m.json: {cache: false}}]\\n' >dvc.yaml; sed -i 's/out.bin$/out.bin; echo 1 >m.json/' dvc.yaml; dvc repro -q; git add -A; git commit -qm p; git push -q origin main",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_commit_that_a_push_published_is_complete(world: World, shape: str) -> None:
    before = world.heads()
    ran = world.sh(SHAPES[shape])
    assert "internal error" not in ran.err
    assert world.heads() != before or "again" in shape or "deletion" in shape or "deleted" in shape
    wiped = "rm -rf ../store" in SHAPES[shape]
    lacking = world.incomplete(without=world.project.head("v1") if wiped else "")
    if shape == "a pipeline":  # `cache: false` is git's own: DVC's lock names its hash, too
        lacking = [x for x in lacking if hashlib.md5(b"1\n").hexdigest() not in x]
    assert lacking == []


def test_only_what_is_missing_is_uploaded_and_nothing_is_asked_where_nothing_is_new(
    world: World,
) -> None:
    before = world.objects()
    ran = world.sh("git push -q origin main")
    fresh = world.objects() - before
    assert f"devml-git: uploaded {len(fresh)} objects" in ran.err
    times = {p: p.stat().st_mtime_ns for p in world.store.rglob("*") if p.is_file()}
    world.store.rename(world.place / "hidden")  # whoever asks now, fails
    ran = world.sh("git push -q origin main; git push -q origin v3; git push -q origin :v3")
    assert ran.err == ""
    (world.place / "hidden").rename(world.store)
    assert {p: p.stat().st_mtime_ns for p in world.store.rglob("*") if p.is_file()} == times


ELSEWHERE = {
    "refs of every kind": "git push -q origin main side v3; git push -q --tags; git tag -a -m t ann v2; git push -q origin ann v2:refs/for/x; git push -q origin main:gone; git push -q origin :gone main:fresh; git checkout -q --detach; commit d; git push -q origin HEAD:refs/heads/d",
    "rewritten and merged": "git push -q origin main; change y; git commit -q --amend --no-edit -a; git push -q -f origin main; git checkout -q side; echo s >models/s.pt; git add -A; git commit -qm s 2>/dev/null || git commit -qm s; git merge -q -m m main; for i in $(seq 40); do echo $i >data/$i; done; devml-git commit -qam many >/dev/null; git push -q origin side",
    "from a linked worktree": "git worktree add -q ../linked -b linked v2 2>/dev/null; cd ../linked; echo l >models/a.pt; devml-git commit -qam l >/dev/null; git push -q origin linked",
    "without hooks, then devml-git push": "git push -q --no-verify origin main; devml-git push -q origin main side >/dev/null",
}


@pytest.mark.parametrize("shape", ELSEWHERE)
@pytest.mark.parametrize("kind", ["ssh", "s3"])
def test_every_commit_is_complete_on_ssh_and_s3(
    world: World, storages: Callable[..., Remote], kind: str, shape: str
) -> None:
    world.moved_to(storages(kind))
    before = world.heads()
    ran = world.sh(ELSEWHERE[shape])
    assert "internal error" not in ran.err
    assert world.heads() != before
    assert world.incomplete() == []


@pytest.mark.parametrize("kind", ["directory", "ssh", "s3"])
def test_fresh_clone_restores_every_commit_by_us_and_by_dvc_alone(
    world: World, storages: Callable[..., Remote], kind: str
) -> None:
    world.moved_to(storages(kind))
    world.sh(
        "commit x; : >models/empty.pt; cp models/a.pt models/twin.pt; "
        "devml-git commit -qm e >/dev/null; git push -q origin main side; git push -q --tags"
    )
    assert world.restored(ours=True) == []
    assert world.restored(ours=False) == []
    found = devml_process("verify", "--all", "--remote", "--json", cwd=world.place / "ours").json
    assert {c["verdict"] for c in found["commits"]} == {"recoverable"}


def test_second_devml_push_asks_the_dvc_remote_for_nothing_until_it_is_in_doubt(
    world: World,
) -> None:
    world.sh("git push -q --no-verify origin v2:x; devml-git push -q origin main >/dev/null")
    assert world.incomplete() == []
    world.store.rename(world.place / "hidden")  # whoever asks now, fails or uploads again
    assert "uploaded" not in world.sh("devml-git push origin main").out
    assert not world.store.exists()
    ran = world.sh("git init -q --bare ../other; devml-git push -q ../other main", check=False)
    assert ran.status, "commits that are new to a git remote are always asked for"
    (world.place / "hidden").rename(world.store)
    day = 'import sqlite3; db = sqlite3.connect(".git/devml/published.db"); '
    world.sh(
        f"python3 -c '{day} db.execute(\"update manifest set seen = seen - 90000\"); db.commit()'"
    )
    world.object(hashlib.md5(b"weights 2\n" * 50).hexdigest()).unlink()
    assert "uploaded 1 object" in world.sh("devml-git push origin main").out
    assert world.incomplete() == []


def test_p15_ten_thousand_commits_and_hundreds_of_branches_cost_a_few_processes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = "committer t <t@example.org> 1700000000 +0000"
    stream = ["reset refs/heads/long\nfrom refs/tags/v1\n\n"]
    for n in range(10_000):
        stream.append(f"commit refs/heads/long\nmark :{n + 1}\n{who}\ndata 1\nx\n")
        stream.append(f"M 100644 inline n.txt\ndata {len(str(n))}\n{n}\n")
    for n in range(300):
        stream.append(f"commit refs/heads/b{n}\n{who}\ndata 1\ny\nfrom :{n * 30 + 1}\n")
        stream.append(f"M 100644 inline b.txt\ndata {len(str(n))}\n{n}\n")
    run("git", "fast-import", "--quiet", cwd=world.project.path, stdin="".join(stream))
    world.sh("git push -q --no-verify origin long")
    spawned: list[object] = []
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: spawned.append(a) or real(*a, **k))
    heads = world.sh("git for-each-ref --format='%(objectname)' 'refs/heads/b*'").out.split()
    began = time.monotonic()
    with Workspace.discover(world.project.path) as ws:
        lines = [pushing.Update(head, "refs/heads/b", None) for head in heads]
        commits = pushing.unpublished(ws.git, "../bare", lines)
        assert len(commits) == 300
        assert pushing.publish(ws, ws.git.reachable(heads), upload=True) == []
        assert pushing.publish(ws, commits, upload=True) == []
    assert len(spawned) < 40, [a[0][:3] for a in spawned]
    assert time.monotonic() - began < 60


def test_path_that_python_takes_for_two_lines_is_one_question_to_git(world: World) -> None:
    with Workspace.discover(world.project.path) as ws:
        asked = ["HEAD:a\u2028b", "HEAD:train.py", "HEAD:c\x0cd"]
        assert ws.git.present(asked) == [False, True, False]


def refused(world: World, *, status: int = 1) -> Ran:
    """A push that must fail before git has moved anything."""
    before = world.heads()
    ran = world.sh("git push -q origin main", check=False)
    assert ran.status == status, ran.err
    assert world.heads() == before
    return ran


def test_object_that_is_nowhere_stops_the_push_with_path_commit_and_oid(world: World) -> None:
    oid = re.findall(r"md5: ([0-9a-f]{32})", world.sh("git show v2:models/a.pt.dvc").out)[0]
    place = world.project.cache / oid[:2] / oid[2:]
    place.rename(world.place / "kept")
    ran = refused(world)
    commit = world.project.head("v2")
    assert "models/a.pt" in ran.err
    assert commit[:12] in ran.err
    assert oid in ran.err
    (world.place / "kept").rename(place)
    world.sh("git push -q origin main")
    assert world.incomplete() == []


def test_object_that_only_the_remote_has_stops_nothing(world: World) -> None:
    world.sh("git push -q origin v2:x")
    oid = re.findall(r"md5: ([0-9a-f]{32})", world.sh("git show v2:models/a.pt.dvc").out)[0]
    (world.project.cache / oid[:2] / oid[2:]).unlink()
    world.sh("git push -q origin main")
    assert world.incomplete() == []


def test_corrupt_object_is_set_aside_and_not_published(world: World) -> None:
    oid = re.findall(r"md5: ([0-9a-f]{32})", world.sh("git show v2:models/a.pt.dvc").out)[0]
    place = world.project.cache / oid[:2] / oid[2:]
    place.chmod(0o644)
    data = bytearray(place.read_bytes())
    data[0] ^= 1
    place.write_bytes(data)
    place.chmod(0o444)
    ran = refused(world)
    assert "corrupt here" in ran.err
    assert not world.object(oid).exists()
    assert any(
        oid in p.name for p in (world.project.path / ".git/devml/cache/quarantine").iterdir()
    )


def test_truncated_copy_on_the_remote_is_replaced(world: World) -> None:
    world.sh("git push -q origin v2:x")
    oid = re.findall(r"md5: ([0-9a-f]{32})", world.sh("git show v2:models/a.pt.dvc").out)[0]
    world.object(oid).chmod(0o644)
    world.object(oid).write_bytes(b"we")
    world.sh(
        "git checkout -q -b again v2; git commit -q --allow-empty -m e; git push -q origin again"
    )
    assert world.incomplete() == []


def test_truncated_copy_on_the_remote_of_what_is_not_here_stops_the_push(world: World) -> None:
    world.sh("git push -q origin v2:x")
    oid = re.findall(r"md5: ([0-9a-f]{32})", world.sh("git show v2:models/a.pt.dvc").out)[0]
    (world.project.cache / oid[:2] / oid[2:]).unlink()
    world.object(oid).chmod(0o644)
    world.object(oid).write_bytes(b"we")
    world.sh("git checkout -q -b again v2; git commit -q --allow-empty -m e")
    ran = world.project.git("push", "-q", "origin", "again", check=False)
    assert ran.status == 1
    assert "not here, and damaged on the DVC remote" in ran.err
    assert world.sh("git ls-remote origin again").out == ""


def test_remote_that_cannot_be_written_stops_the_push(world: World) -> None:
    shutil.rmtree(world.store)
    world.store.write_text("a file where the store should be")
    ran = refused(world)
    assert "DVC remote store" in ran.err
    world.store.unlink()
    world.sh("git push -q origin main")
    assert world.incomplete(without=world.project.head("v1")) == []


def test_changed_remote_is_not_connected_to_until_it_is_trusted(world: World) -> None:
    config = world.project.path / ".dvc/config"
    config.write_text(REMOTE.replace("../../store", "../../elsewhere"))
    world.sh("git -c core.hooksPath=/dev/null commit -qam 'as if it were pulled'")
    ran = refused(world)
    assert "devml-git trust store" in ran.err
    assert not (world.place / "elsewhere").exists()
    world.sh("devml-git trust store; git push -q origin main")
    assert world.incomplete(world.place / "elsewhere", without=world.project.head("v1")) == []


def test_without_dvc_remote_one_line_warns_and_check_refuses(world: World) -> None:
    (world.project.path / ".dvc/config").write_text("")
    ran = world.sh("git push -q origin v2:x")
    assert ran.err.count("\n") == 1
    assert "no DVC remote" in ran.err
    settings = world.project.path / "devml.toml"
    settings.write_text(settings.read_text() + '[hooks]\npre-push = "check"\n')
    assert "no DVC remote" in refused(world).err
    settings.write_text(settings.read_text().replace("check", "off"))
    assert world.sh("git push -q origin main").err == ""


def test_check_asks_and_uploads_nothing(world: World) -> None:
    settings = world.project.path / "devml.toml"
    settings.write_text(settings.read_text() + '[hooks]\npre-push = "check"\n')
    before = world.objects()
    assert "not on the DVC remote" in refused(world).err
    assert world.objects() == before
    world.sh("devml-git push -q origin main >/dev/null")
    assert world.incomplete() == []


def test_push_without_content_is_possible_where_the_user_says_so(world: World) -> None:
    oid = re.findall(r"md5: ([0-9a-f]{32})", world.sh("git show v2:models/a.pt.dvc").out)[0]
    (world.project.cache / oid[:2] / oid[2:]).unlink()
    world.sh("git config devml.allowIncompletePush true")
    ran = world.sh("git push -q origin main")
    assert "published without content: models/a.pt" in ran.err
    assert {x.split(":")[0] for x in world.incomplete()} == {
        f"{world.project.head('v2')[:8]} models/a.pt.dvc"
    }


def test_outputs_go_where_they_say_and_push_false_nowhere(world: World) -> None:
    world.sh(
        "dvc remote add --local -q other ../other; devml-git trust >/dev/null; "
        "echo o >models/o.pt; echo n >models/n.pt; devml-git snapshot >/dev/null; "
        "printf '  remote: other\\n' >>models/o.pt.dvc; printf '  push: false\\n' >>models/n.pt.dvc; "
        "git add -A; git commit -qm r; git push -q origin main"
    )
    names = {p.parent.name + p.name for p in (world.place / "other").rglob("*") if p.is_file()}
    assert names == {hashlib.md5(b"o\n").hexdigest()}
    assert hashlib.md5(b"n\n").hexdigest() not in world.objects() | names


def test_hook_that_was_here_before_sees_gits_lines_and_can_refuse(world: World) -> None:
    hooks = world.project.path / ".git/hooks"
    theirs = hooks / "pre-push.before-devml"
    theirs.write_text("#!/bin/sh\ncat >seen\necho $# >>seen\n")
    theirs.chmod(0o755)
    world.sh("git push -q origin main")
    seen = world.project.read("seen").splitlines()
    assert seen[0].startswith("refs/heads/main ")
    assert seen[-1] == "2"
    assert world.incomplete() == []
    theirs.write_text("#!/bin/sh\nexit 3\n")
    before = world.objects()
    assert world.sh("commit x; git push -q origin main", check=False).status == 1
    assert world.objects() == before


def test_hook_that_does_not_read_its_lines_breaks_nothing(world: World) -> None:
    theirs = world.project.path / ".git/hooks/pre-push.before-devml"
    theirs.write_text("#!/bin/sh\nexit 0\n")
    theirs.chmod(0o755)
    world.sh("for i in $(seq 400); do git branch b$i v2; done; git push -q --all")
    assert world.incomplete() == []


def test_interrupted_upload_goes_on_where_it_stopped(world: World) -> None:
    """The manifest comes last: a store that stops taking files never has one without its files."""
    world.sh("for i in $(seq 40); do echo $i >data/$i; done; devml-git commit -qam many >/dev/null")
    shutil.rmtree(world.store)
    in_the_way = world.object(hashlib.md5(b"7\n").hexdigest()).parent
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where a directory should be")
    refused(world)
    assert list(world.store.rglob("*.dir")) == []
    in_the_way.unlink()
    world.sh("git push -q origin main")
    assert world.incomplete(without=world.project.head("v1")) == []


def test_dry_run_and_pushes_that_git_refuses_change_no_ref(world: World) -> None:
    before = world.heads()
    world.sh(
        "git push -q --dry-run origin main; devml-git push -q --dry-run origin main >/dev/null"
    )
    assert world.heads() == before
    ran = world.sh("git checkout -q -b old v1; git commit -q --allow-empty -m e; git push -q origin main; devml-git push -q origin old:main", check=False)  # fmt: skip
    assert ran.status != 0
    os.environ.pop("DEVML_GIT_UPLOADED", None)


def test_undo_does_not_pretend_to_take_a_push_back(world: World) -> None:
    world.sh("git push -q origin main")
    before = world.heads(), world.project.states(), world.project.porcelain()
    ran = world.project.devml("undo", check=False)
    assert ran.status == 2
    assert "git push" in ran.err
    assert "others may have it" in ran.err
    assert (world.heads(), world.project.states(), world.project.porcelain()) == before
    known = world.project.devml("undo", "--list", "--json").json["operations"]
    earlier = next(op for op in known if op["what"] != "git push")
    assert world.project.devml("undo", earlier["id"]).status == 0


def test_remote_that_the_user_commits_himself_is_trusted_and_a_merged_one_is_not(
    world: World,
) -> None:
    config = world.project.path / ".dvc/config"
    config.write_text(REMOTE.replace("../../store", "../../mine"))
    ran = world.sh("git add .dvc/config; git commit -qm mine; git push -q origin main")
    assert "DVC remote trusted as you commit it: store" in ran.err
    assert world.incomplete(world.place / "mine", without=world.project.head("v1")) == []
    world.sh("git checkout -q -b theirs v3")
    config.write_text(REMOTE.replace("../../store", "../../theirs"))
    world.sh(
        "git -c core.hooksPath=/dev/null commit -qam theirs; git checkout -q main; "
        "git merge -q -m m theirs || git checkout -q --theirs .dvc/config; "
        "git add .dvc/config; git commit -qm merged",
        check=False,
    )
    assert "../../theirs" in world.project.show("HEAD", ".dvc/config")
    assert "devml-git trust store" in refused(world).err
    assert not (world.place / "theirs").exists()


def test_directory_remote_that_has_vanished_is_not_made_anew(world: World) -> None:
    """A disk that is not mounted: what were put in its place would be on nobody's disk."""
    world.sh("git push -q origin main; change x; devml-git commit -qam x >/dev/null")
    world.store.rename(world.place / "unmounted")
    ran = refused(world)
    assert "is a directory that is not there" in ran.err
    assert not world.store.exists()
    (hint,) = re.findall(r"hint: .*or, to begin it anew: (mkdir -p .*)", ran.err)
    (world.place / "unmounted").rename(world.store)
    world.sh("git push -q origin main")
    assert world.incomplete(without=world.project.head("v1")) == []
    world.store.rename(world.place / "unmounted")
    world.sh("change y; devml-git commit -qam y >/dev/null")
    refused(world)
    world.sh(f"{hint}; git push -q origin main", check=False)
    assert world.store.is_dir()


def test_directory_remote_that_was_never_there_is_made_by_the_first_push(world: World) -> None:
    world.sh("rm -rf ../new; dvc remote add -q fresh ../new; dvc remote default -q fresh; "
             "git commit -qam fresh; git push -q origin main")  # fmt: skip
    assert (world.place / "new").is_dir()
