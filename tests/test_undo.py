"""`undo` and the log of operations: what comes back, what is refused, what is never lost."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devml_git import operations
from devml_git.errors import StorageFailed
from devml_git.plumbing import Git
from tests.world import Project, devml, run

LOG = ".git/devml/operations.jsonl"


def log(project: Project) -> list[dict[str, Any]]:
    return devml("undo", "--list", "--json", cwd=project.path).json["operations"]


def picture(project: Project, *, head: bool = True) -> dict[str, object]:
    """Return all that an operation can change: HEAD, index, files, and what `status` says."""
    files = {
        p.relative_to(project.path).as_posix(): (p.read_bytes(), p.stat().st_mode & 0o111)
        for p in project.path.rglob("*")
        if p.is_file() and not {".git", "tmp"} & set(p.relative_to(project.path).parts)
    }
    return {
        "head": (project.path / ".git/HEAD").read_text() if head else "",
        "commit": project.head() if head else "",
        "index": run("git", "ls-files", "-s", cwd=project.path).out,
        "exclude": sorted(project.read(".git/info/exclude").split()),
        "files": files,
        "states": project.states(),
    }


def there_and_back(project: Project, *command: str) -> tuple[dict[str, object], str]:
    """Run a command, undo it, redo it, undo it again; return the picture and what undo said."""
    before = picture(project)
    project.devml(*command) if command[0] != "git" else project.git(*command[1:])
    after = picture(project)
    assert after != before, "the command is to change something"
    said = project.devml("undo").out
    assert picture(project) == before
    assert project.devml("undo").out.startswith("undone: ")
    assert picture(project) == after
    project.devml("undo")
    assert picture(project) == before
    return after, said


# -- operations that leave HEAD where it is ------------------------------------------------------


def test_snapshot_is_undone_and_redone_to_the_byte(models: Project) -> None:
    models.write("models/a.pt", "edit")
    models.write("models/new.pt", "new")
    models.write("data/x.csv", "edit")
    (models.path / "data/part1.csv").unlink()
    (models.path / "data/part2.csv").chmod(0o755)
    after, said = there_and_back(models, "snapshot")
    assert set(after["states"].values()) == {"clean"}  # type: ignore[attr-defined]
    assert "as before: data.dvc, models/a.pt.dvc, models/new.pt.dvc" in said
    assert models.states() == {
        "data": "modified",
        "models/a.pt": "modified",
        "models/new.pt": "new",
    }
    models.git("commit", "-qm", "x", check=False)
    models.git("commit", "-qm", "x")
    assert models.in_step()


@pytest.mark.parametrize(
    "command",
    [
        ("checkout", "v1", "--", "models/a.pt", "data"),
        ("checkout", "v1", "--", "data/x.csv", "data/part1.csv"),
        ("checkout", "--force"),
        ("untrack", "models/a.pt"),
        ("untrack", "models/**"),
        ("untrack", "data/", "--delete"),
        ("track", "*.bin"),
        ("git", "mv", "models/a.pt.dvc", "models/b.pt.dvc"),
        ("checkout", "v3", "--", "models/a.pt"),
    ],
    ids=" ".join,
)
def test_command_is_undone_and_redone_to_the_byte(
    models: Project, command: tuple[str, ...]
) -> None:
    if command == ("checkout", "--force"):
        models.write("models/a.pt", "edit")
        (models.path / "data/x.csv").unlink()
    if command[0] == "track":
        models.write("deep/x.bin", "in git so far")
        models.git("add", "deep")
    if command[0] == "git":
        models.git(*command[1:])
        command = ("snapshot",)
    if "v3" in command:  # the exec bit is all that changes
        (models.path / "models/a.pt").chmod(0o755)
        models.commit("exec")
    there_and_back(models, *command)
    rescued = models.devml("rescue", "list", "--json").json["rescues"]
    in_no_commit = "--force" in command or "data/x.csv" in command
    assert bool(rescued) is in_no_commit, "what a commit has is never set aside"


def test_undo_by_id_reaches_past_what_does_not_touch_it(models: Project) -> None:
    before = picture(models)
    models.devml("checkout", "v1", "--", "models/a.pt")
    first = log(models)[0]["id"]
    models.devml("checkout", "v2", "--", "data")
    models.devml("undo", first[:6])
    assert models.bytes("models/a.pt") == b"weights 3\n" * 50
    assert "part1.csv" in models.listing("data")
    assert "part3.csv" not in models.listing("data")
    again = models.devml("undo", first)
    assert again.out.startswith("nothing to do")
    undo, second, one = log(models)[:3]
    assert (undo["undoes"], undo["undone"], one["undone"], second["undone"]) == (
        first,
        False,
        True,
        False,
    )
    models.devml("undo", second["id"])
    assert picture(models) == before
    models.devml("undo", undo["id"])
    assert [op["undone"] for op in log(models) if op["id"] in {first, undo["id"]}] == [True, False]


def test_rescue_restore_is_undone_and_what_it_brought_is_kept(models: Project) -> None:
    models.write("models/a.pt", "precious")
    models.devml("checkout", "--force")
    (rescue,) = models.devml("rescue", "list", "--json").json["rescues"]
    there_and_back(models, "rescue", "restore", rescue["id"])
    assert models.in_step()
    models.devml("rescue", "restore", rescue["id"], "--to", "models/other.pt")
    models.devml("undo")
    assert not models.exists("models/other.pt")
    assert "precious" in [p.read_text() for p in models.objects().values()]


# -- operations that came with a move of HEAD ----------------------------------------------------


@pytest.mark.parametrize(
    "command", [("git", "checkout", "-q", "v1"), ("checkout", "v1")], ids=" ".join
)
def test_after_a_checkout_artifacts_come_back_as_edits_and_head_stays(
    models: Project, command: tuple[str, ...]
) -> None:
    """They are the user's wish: the next hook does not take them away, the next commit has them."""
    main = picture(models)
    models.git(*command[1:]) if command[0] == "git" else models.devml(*command)
    at_v1 = picture(models)
    said = models.devml("undo").out
    assert "HEAD stays; before this it was main: commits are for git reflog, git reset" in said
    assert "counts as your edit, the next commit takes it up: data, models/a.pt" in said
    assert models.states() == {"data": "modified", "models/a.pt": "modified"}
    assert models.head() == models.head("v1")
    assert models.porcelain() == ""
    models.git("reset", "-q", "--hard")
    assert models.read("models/a.pt").startswith("weights 3")
    models.devml("undo")
    assert picture(models) == at_v1
    models.devml("undo")
    models.git("checkout", "-q", "main")
    assert picture(models) == main
    op = next(
        op for op in log(models) if op["what"].endswith("checkout") and op["branch"] == "main"
    )
    assert op["commit"] == models.head("v3")


def test_undo_after_a_commit_and_a_reset_of_git_are_together_before_the_commit(
    models: Project,
) -> None:
    models.write("models/a.pt", "edit")
    models.write("train.py", "print(4)\n")
    before = picture(models)
    models.git("commit", "-qam", "v4")
    said = models.devml("undo").out
    assert f"before this it was {models.head('HEAD~1')[:12]}" in said
    assert models.porcelain() == "M  models/a.pt.dvc\n"
    models.git("reset", "-q", "--soft", "HEAD~1")
    models.git("reset", "-q")
    assert picture(models) == before


def test_edit_that_a_merge_replaced_comes_back(models: Project) -> None:
    models.git("checkout", "-q", "-b", "side")
    models.write("models/a.pt", "side")
    models.write("models/only.pt", "only")
    models.commit("side")
    models.git("checkout", "-q", "main")
    models.write("models/a.pt", "my edit")
    models.git("merge", "-q", "side")
    assert models.read("models/a.pt") == "side"
    models.devml("undo")
    assert models.read("models/a.pt") == "my edit"
    assert not models.exists("models/only.pt")
    assert models.states() == {
        "data": "clean",
        "models/a.pt": "modified",
        "models/only.pt": "deleted",
    }


# -- what stands in the way ----------------------------------------------------------------------


def test_edit_since_is_refused_and_with_force_rescued(models: Project) -> None:
    models.devml("checkout", "v1", "--", "models/a.pt", "data")
    op = log(models)[0]["id"]
    models.write("models/a.pt", "edited since")
    models.write("data/x.csv", "edited since")
    before = picture(models)
    ran = models.devml("undo", "--json", check=False)
    assert ran.status == 31
    assert json.loads(ran.err)["code"] == 31
    assert "data, models/a.pt" in json.loads(ran.err)["message"]
    assert picture(models) == before
    assert log(models)[0]["id"] == op
    done = models.devml("undo", "--force", "--json").json
    assert done["schema"] == "devml.undo/v1"
    assert models.states() == {"data": "clean", "models/a.pt": "clean"}
    assert models.porcelain() == ""
    kept = {r["id"]: r["path"] for r in models.devml("rescue", "list", "--json").json["rescues"]}
    assert {kept[i] for i in done["rescued"]} == {"data", "models/a.pt"}
    models.devml("undo")
    assert models.read("models/a.pt") == "edited since"
    assert models.read("data/x.csv") == "edited since"


def test_edit_of_another_member_stands(models: Project) -> None:
    models.devml("checkout", "v1", "--", "data/x.csv")
    models.write("data/part2.csv", "mine")
    models.write("data/fresh.csv", "mine, too")
    models.devml("undo")
    assert models.read("data/x.csv") == "x,3\n"
    assert models.read("data/part2.csv") == "mine"
    assert models.read("data/fresh.csv") == "mine, too"
    assert models.states()["data"] == "modified"
    assert models.porcelain() == ""


def test_member_deleted_since_stays_deleted(models: Project) -> None:
    models.devml("checkout", "v1", "--", "data/x.csv")
    (models.path / "data/part2.csv").unlink()
    models.devml("undo")
    assert models.read("data/x.csv") == "x,3\n"
    assert not models.exists("data/part2.csv")
    assert models.states()["data"] == "modified"


def test_small_file_changed_since_is_refused_and_with_force_comes_back_by_redo(
    models: Project,
) -> None:
    before = picture(models)
    models.devml("track", "*.bin")
    for file in ("devml.toml", ".gitignore"):
        mine = models.read(file) + "# mine\n"
        models.write(file, mine)
        ran = models.devml("undo", check=False)
        assert ran.status == 31
        assert file in ran.err
        models.devml("undo", "--force")
        assert picture(models) == before
        models.devml("undo")
        assert models.read(file) == mine


def test_small_file_forced_over_is_rescued_before_anything_is_written(models: Project) -> None:
    models.devml("track", "*.bin")
    mine = models.read("devml.toml") + "# mine\n"
    models.write("devml.toml", mine)
    assert run("python", "-c", KILLED_BEFORE_THE_RECORD, "undo", "--force", cwd=models.path,
               check=False).status == 137  # fmt: skip
    assert models.read("devml.toml") != mine
    (rescue,) = models.devml("rescue", "list", "--json").json["rescues"]
    models.devml("rescue", "restore", rescue["id"])
    assert models.read("devml.toml") == mine


def test_small_file_that_head_has_is_not_rescued(models: Project) -> None:
    models.devml("checkout", "v1", "--", "models/a.pt")
    first = log(models)[0]["id"]
    models.git("checkout", "-q", "v2", "--", "models/a.pt.dvc")
    models.git("commit", "-qm", "v2 again")
    models.devml("undo", first, "--force")
    rescued = models.devml("rescue", "list", "--json").json["rescues"]
    assert "models/a.pt.dvc" not in {r["path"] for r in rescued}


def test_pointer_or_index_changed_since_is_refused(models: Project) -> None:
    models.devml("checkout", "v1", "--", "models/a.pt")
    first = log(models)[0]["id"]
    models.devml("checkout", "v2", "--", "models/a.pt")
    for command in (("undo", first), ("undo", first[:4])):
        ran = models.devml(*command, check=False)
        assert ran.status == 31
        assert "models/a.pt" in ran.err
    models.devml("undo")
    models.git("reset", "-q", "v2", "--", "models/a.pt.dvc")  # the index alone
    assert models.devml("undo", first, check=False).status == 31
    models.devml("undo", first, "--force")
    assert models.read("models/a.pt").startswith("weights 3")
    assert models.porcelain() == ""


@pytest.mark.parametrize("harm", ["gone", "corrupt"])
def test_content_that_is_no_more_is_named_and_nothing_moves(models: Project, harm: str) -> None:
    lost = models.object("models/a.pt.dvc")
    models.devml("checkout", "v1", "--", "models/a.pt", "data")
    lost.chmod(0o600)
    lost.unlink() if harm == "gone" else lost.write_text("rotten")
    before = picture(models)
    ran = models.devml("undo", check=False)
    assert ran.status == 30
    assert "models/a.pt" in ran.err
    assert "data" not in ran.err
    assert picture(models) == before


def test_half_way_and_settled_conflicts_are_refused(models: Project) -> None:
    models.git("checkout", "-q", "-b", "side", "v2")
    models.write("models/a.pt", "side")
    models.commit("side")
    models.git("checkout", "-q", "main")
    models.differential = False
    models.git("merge", "-q", "side", check=False)
    ran = models.devml("undo", check=False)
    assert (ran.status, "a merge stands half-way" in ran.err) == (20, True)
    models.devml("checkout", "--theirs", "--", "models/a.pt")
    models.git("commit", "-qm", "merged")
    settled = next(op for op in log(models) if op["final"])
    ran = models.devml("undo", settled["id"], "--force", check=False)
    assert ran.status == 2
    assert "settled a conflict" in ran.err
    assert "git reset" in ran.err
    assert models.read("models/a.pt") == "side"


def test_what_others_have_seen_is_refused_and_what_was_before_is_not(models: Project) -> None:
    """As a push would be written down."""
    before = picture(models)
    models.devml("checkout", "v1", "--", "models/a.pt")
    git = Git.discover(models.path)
    (done, *_) = operations.read(git.private)
    push = replace(done, id="00000000", what="git push", final="others may have fetched it")
    operations.append(git.private, push)
    ran = models.devml("undo", check=False)
    assert ran.status == 2
    assert "others may have fetched it" in ran.err
    models.devml("undo", done.id)
    assert picture(models) == before


def test_many_at_once_take_turns(models: Project) -> None:
    models.devml("checkout", "v1", "--", "models/a.pt", "data")
    before = picture(models)
    argv = [sys.executable, "-m", "devml_git", "undo"]
    crowd = [subprocess.Popen(argv, cwd=models.path, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [one.wait(60) for one in crowd] == [0, 0, 0, 0]
    assert picture(models) == before
    assert len([op for op in log(models) if op["what"] == "devml-git undo"]) == 4


def test_path_that_git_holds_now_is_left_alone(models: Project) -> None:
    models.devml("untrack", "models/a.pt", "--delete")
    op = log(models)[0]["id"]
    models.write("models/a.pt", "git's own")
    models.git("add", "-f", "models/a.pt")
    models.git("commit", "-qm", "in git", "--no-verify")
    ran = models.devml("undo", op, "--force", check=False)
    assert ran.status == 31
    assert models.read("models/a.pt") == "git's own"


def test_unknown_and_missing_operations_are_usage_errors(project: Project) -> None:
    (project.path / LOG).unlink(missing_ok=True)
    assert project.devml("undo", "--list").out == "no operation has changed anything yet\n"
    assert log(project) == []
    for args in ((), ("12345678",), ("--list", "12345678")):
        assert project.devml("undo", *args, check=False).status == 2


# -- the log -------------------------------------------------------------------------------------


def test_log_says_what_when_and_from_what_to_what(models: Project) -> None:
    models.devml("checkout", "v1", "--", "models/a.pt")
    newest = log(models)[0]
    (line,) = newest.pop("artifacts")
    assert line["path"] == "models/a.pt"
    assert line["before"].keys() == {"oid", "hash", "size", "nfiles", "executable", "sha256"}
    assert (line["before"]["size"], line["after"]["hash"]) == (500, "md5")
    assert models.object("models/a.pt.dvc").name in line["after"]["oid"]
    (file,) = newest["files"]
    assert file["path"] == "models/a.pt.dvc"
    assert file["after"] == models.read("models/a.pt.dvc")
    (entry,) = newest["index"]
    assert entry["after"] == f"100644 {models.head(':models/a.pt.dvc')}"
    assert newest["what"] == "devml-git checkout"
    assert newest["branch"] == "main"
    assert newest["commit"] == models.head()
    assert newest["worktree"] == str(models.path)
    shown = models.devml("undo", "--list").out.splitlines()
    assert shown[1].split()[0] == newest["id"]
    assert len(shown) == len(log(models)) + 1


def test_where_nothing_changes_nothing_is_written(models: Project) -> None:
    before = (models.path / LOG).stat()
    models.devml("status")
    models.devml("snapshot")
    models.devml("checkout")
    models.devml("checkout", "HEAD")
    models.write("train.py", "print(4)\n")
    models.git("commit", "-qam", "code only")
    models.git("checkout", "-q", "-b", "other")
    models.devml("checkout", "v1", "--", "nothing", check=False)
    assert (models.path / LOG).stat() == before


def test_log_is_bounded_private_and_survives_torn_lines(
    models: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = models.path / LOG
    assert place.stat().st_mode & 0o777 == 0o600
    known = [op["id"] for op in log(models)]
    place.write_bytes(place.read_bytes() + b'{"id": "torn", "ti')
    models.devml("checkout", "v1", "--", "models/a.pt")
    assert [op["id"] for op in log(models)][1:] == known
    place.write_bytes(b'{"id": 1}\n[]\nnull\n\xff\n' + place.read_bytes())
    hostile = json.loads(place.read_text("latin-1").splitlines()[-1])
    hostile["artifacts"] = {"../../etc/passwd": {"before": None, "after": None}}
    hostile["files"] = {".git/config": {"before": "[core]", "after": None}}
    place.write_bytes(place.read_bytes() + json.dumps(hostile).encode() + b"\n")
    assert len(log(models)) == len(known) + 1
    size = len(place.read_bytes().splitlines(keepends=True)[-2])
    monkeypatch.setattr(operations, "MOST_BYTES", 5 * size)
    monkeypatch.setattr(operations, "KEPT_BYTES", 3 * size)
    for n in range(12):
        models.devml("checkout", f"v{2 - n % 2}", "--", "models/a.pt")
        assert place.stat().st_size <= 5 * size
    assert len(log(models)) in {3, 4, 5}
    monkeypatch.setattr(operations, "MOST_BYTES", 1)
    monkeypatch.setattr(operations, "KEPT_BYTES", 1)
    models.devml("checkout", "v3", "--", "models/a.pt")
    assert len(log(models)) == 1


def test_log_that_cannot_be_written_fails_nothing_and_is_told(
    models: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFailed("no space left on device")

    monkeypatch.setattr(operations, "append", full)
    ran = models.devml("checkout", "v1", "--", "models/a.pt")
    assert models.read("models/a.pt").startswith("weights 1")
    assert "cannot be undone" in ran.err
    assert "no space left" in ran.err


def test_operation_on_a_name_only_git_takes_is_the_last_one_all_the_same(models: Project) -> None:
    models.write("deep/a\tb.bin", "in git so far")
    models.git("add", "deep")
    before = picture(models)
    models.differential = False  # such a name inside an artifact is refused later
    models.devml("track", "deep/")
    assert log(models)[0]["what"] == "devml-git track"
    models.devml("undo")
    assert picture(models) == before


def test_rule_that_would_stop_every_command_is_not_written(models: Project) -> None:
    models.write("deep/a\tb.bin", "in git so far")
    models.git("add", "deep")
    before, known = picture(models), log(models)
    ran = models.devml("track", "*.bin", check=False)
    assert (ran.status != 0, "control character" in ran.err) == (True, True)
    assert picture(models) == before
    assert log(models) == known


def test_last_operation_that_cannot_be_read_is_not_taken_for_the_one_before(
    models: Project,
) -> None:
    models.devml("checkout", "v1", "--", "models/a.pt")
    before, known = picture(models), log(models)
    place = models.path / LOG
    place.write_bytes(place.read_bytes() + b'{"id": "01234567", "ti')
    ran = models.devml("undo", check=False)
    assert (ran.status, "undo --list" in ran.err) == (2, True)
    assert picture(models) == before
    assert log(models) == known
    models.devml("undo", known[0]["id"])
    assert models.read("models/a.pt").startswith("weights 3")


@pytest.mark.parametrize(
    "change",
    [
        {"id": 5}, {"id": "g1234567"}, {"time": None}, {"what": ["x"]}, {"commit": 5},
        {"branch": 7}, {"undoes": ["x"]}, {"released": [["x"]]}, {"final": 5},
        {"index": {"../x": {"before": None, "after": None}}},
    ],
    ids=str,
)  # fmt: skip
def test_line_of_another_shape_is_no_operation(models: Project, change: dict[str, Any]) -> None:
    place = models.path / LOG
    known = log(models)
    newest = json.loads(place.read_bytes().splitlines()[-1])
    with place.open("a") as file:
        file.write(json.dumps(newest | change) + "\n")
    assert log(models) == known


def test_operations_that_undo_each_other_in_a_ring_are_listed(models: Project) -> None:
    place = models.path / LOG
    newest = json.loads(place.read_bytes().splitlines()[-1])
    with place.open("a") as file:
        for one, other in ("ab", "ba", "cc", "ba"):
            row = newest | {"id": one * 8, "undoes": other * 8}
            file.write(json.dumps(row) + "\n")
    assert len(log(models)) >= 4


KILLED_BEFORE_THE_RECORD = (
    "import os, sys\n"
    "from devml_git import operations\n"
    "from devml_git.cli import main\n"
    "operations.append = lambda *a: os._exit(137)\n"
    "main(sys.argv[1:])"
)


def test_killed_before_the_record_nothing_is_lost(models: Project) -> None:
    models.write("models/a.pt", "precious")
    models.devml("snapshot")
    known = log(models)
    argv = ("checkout", "v1", "--", "models/a.pt")
    ran = run("python", "-c", KILLED_BEFORE_THE_RECORD, *argv, cwd=models.path, check=False)
    assert ran.status == 137
    assert log(models) == known
    models.devml(*argv)
    assert models.read("models/a.pt").startswith("weights 1")
    (rescue,) = models.devml("rescue", "list", "--json").json["rescues"]
    models.devml("rescue", "restore", rescue["id"])
    assert models.read("models/a.pt") == "precious"


def test_killed_half_way_the_edit_is_still_one_and_the_same_undo_finishes(models: Project) -> None:
    models.write("models/a.pt", "edit")
    before = picture(models)
    models.devml("snapshot")
    op = log(models)[0]["id"]
    code = (
        "import os, sys\n"
        "from devml_git.cli import main\n"
        "from devml_git.restoring import Restorer\n"
        "Restorer.bring = lambda *a, **k: os._exit(137)\n"
        "main(sys.argv[1:])"
    )
    assert run("python", "-c", code, "undo", op, cwd=models.path, check=False).status == 137
    assert picture(models) == before
    assert models.devml("undo", op).out.startswith("nothing to do")
    assert picture(models) == before


def test_interrupted_operation_is_recorded_as_far_as_it_came(
    models: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from devml_git.restoring import Restorer

    models.write("data/part1.csv", "part 1 again")
    models.devml("snapshot")
    before = picture(models)
    put, seen = Restorer._put, []

    def second_fails(self: Restorer, *args: Any) -> None:
        seen.append(args[1])
        if len(seen) == 2:
            raise KeyboardInterrupt
        put(self, *args)

    monkeypatch.setattr(Restorer, "_put", second_fails)
    ran = devml("checkout", "v1", "--", "data", cwd=models.path)
    assert ran.status == 130
    monkeypatch.undo()
    assert picture(models)["files"] != before["files"]
    models.devml("undo")
    assert picture(models) == before


def test_undo_that_broke_off_is_finished_by_the_same_command_and_redone_whole(
    models: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from devml_git.restoring import Restorer

    before = picture(models)
    models.devml("checkout", "v1", "--", "models/a.pt", "data")
    after = picture(models)

    def full(*_: object) -> None:
        raise StorageFailed("no space left on device")

    monkeypatch.setattr(Restorer, "_copy_one", full)
    assert devml("undo", cwd=models.path).status == 21
    assert devml("undo", cwd=models.path).status == 21
    monkeypatch.undo()
    assert [op["broken"] for op in log(models)[:2]] == [True, True]
    assert "(broken off)" in models.devml("undo", "--list").out
    models.devml("undo")
    assert picture(models) == before
    models.devml("undo")
    assert picture(models) == after


def test_index_that_somebody_else_has_locked_refuses_before_anything_moves(
    models: Project,
) -> None:
    models.devml("checkout", "v1", "--", "models/a.pt")
    before, known = picture(models), log(models)
    lock = models.path / ".git/index.lock"
    lock.touch()
    ran = models.devml("undo", check=False)
    lock.unlink()
    assert (ran.status, "index.lock" in ran.err) == (20, True)
    assert picture(models) == before
    assert log(models) == known


# -- where there is more than one of something ---------------------------------------------------


def test_each_worktree_has_its_own_log(models: Project, tmp_path: Path) -> None:
    models.git("worktree", "add", "-q", str(tmp_path / "wt"), "v1")
    other = Project(tmp_path / "wt", differential=False)
    (brought,) = log(other)
    assert brought["what"] == "git reset"  # which `git worktree add` runs
    known = log(models)
    other.devml("checkout", "v2", "--", "models/a.pt")
    other.devml("undo")
    assert other.read("models/a.pt").startswith("weights 1")
    assert log(models) == known


def test_outputs_of_a_pipeline_and_their_lock(project: Project) -> None:
    project.write(
        "dvc.yaml",
        "stages:\n  fit:\n    cmd: cp in.txt out.bin && cp in.txt two.bin\n    deps: [in.txt]\n    outs: [out.bin, two.bin]\n",
    )
    project.write("in.txt", "1")
    project.dvc("repro", "-q")
    project.commit("one")
    project.write("out.bin", "by hand")
    project.write("two.bin", "by hand, too")
    there_and_back(project, "snapshot", "out.bin")
    assert project.states() == {"out.bin": "modified", "two.bin": "modified"}


def test_index_entry_whose_blob_git_has_dropped_is_made_from_the_file(models: Project) -> None:
    models.write("models/a.pt", "first")
    models.devml("snapshot")
    models.write("models/a.pt", "second")
    models.devml("snapshot")
    entry = log(models)[0]["index"][0]["before"].split()[1]
    (models.path / ".git/objects" / entry[:2] / entry[2:]).unlink()
    models.devml("undo")
    assert models.porcelain() == "M  models/a.pt.dvc\n"
    assert models.states()["models/a.pt"] == "modified"
    assert Git.discover(models.path).staged_blob_for("models/a.pt.dvc") == entry


def test_undo_needs_no_content_that_the_user_himself_has_written_over(models: Project) -> None:
    models.differential = False
    models.write("data/part1.csv", "in no snapshot")
    models.devml("checkout", "v1", "--", "data/x.csv")
    models.write("data/part1.csv", "written over")
    models.devml("undo")
    assert models.read("data/x.csv") == "x,3\n"
    assert models.read("data/part1.csv") == "written over"


def test_index_entry_that_cannot_be_made_again_is_named(models: Project) -> None:
    models.write("deep/x.bin", "staged, and nowhere else")
    models.git("add", "deep")
    models.devml("track", "*.bin")
    models.write("deep/x.bin", "as it lies")
    models.git("prune", "--expire=now")
    said = models.devml("undo").out
    assert "forgotten what was staged, as it lies instead: deep/x.bin" in said
    assert "as before: .gitignore, devml.toml" in said
    assert models.porcelain() == "A  deep/x.bin\n"
