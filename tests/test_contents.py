"""Content of any revision, to be read: proven before it is handed out, fetched if allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from devml_git.contents import Contents
from devml_git.errors import ContentLost
from devml_git.nouns import Pointer
from devml_git.workspace import Workspace
from tests.world import Project


def at(ws: Workspace, rev: str, path: str) -> Pointer:
    return ws.snapshot_at(ws.git.require_commit(rev)).pointers[path]


def rot(p: Project, oid: str) -> Path:
    """Change an object's bytes, but neither its size nor its mode."""
    place = p.path / ".git/devml/cache/files/md5" / oid[:2] / oid[2:]
    data = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    place.chmod(0o444)
    return place


def test_file_and_directory_of_an_older_commit_are_read(models: Project) -> None:
    with Workspace.discover(models.path) as ws:
        contents = Contents(ws, fetch=False)
        (file,) = contents.files(at(ws, "v1", "models/a.pt")).values()
        assert file.read_text() == "weights 1\n" * 50
        data = at(ws, "v2", "data")
        assert set(contents.members(data)) == {"x.csv", "part1.csv", "part2.csv"}
        (one,) = contents.files(data, ["x.csv"]).values()
        assert one.read_text() == "x,2\n"
    assert models.read("models/a.pt") == "weights 3\n" * 50


def test_corrupt_object_is_never_handed_out(models: Project) -> None:
    with Workspace.discover(models.path) as ws:
        pointer = at(ws, "v1", "models/a.pt")
        rot(models, pointer.oid or "")
        for _ in range(2):  # it stays where `verify --repair` looks for it
            with pytest.raises(ContentLost, match=r"models/a\.pt .* is corrupt in the cache") as e:
                Contents(ws, fetch=False).files(pointer)
            assert "devml-git verify --all --repair" in str(e.value.hint)


def test_corrupt_object_is_found_although_it_was_proven_before(models: Project) -> None:
    with Workspace.discover(models.path) as ws:
        pointer = at(ws, "v1", "models/a.pt")
        Contents(ws, fetch=False).files(pointer)
        rot(models, pointer.oid or "")
        with pytest.raises(ContentLost):
            Contents(ws, fetch=False).files(pointer)


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "corrupt"])
def test_bad_object_comes_from_the_remote_where_that_is_allowed(
    models: Project, tmp_path: Path, gone: bool
) -> None:
    models.dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    models.dvc("push", "-q")
    with Workspace.discover(models.path) as ws:
        pointer = at(ws, "v3", "models/a.pt")
        place = rot(models, pointer.oid or "")
        if gone:
            place.unlink()
        said = "is not in the cache" if gone else "is corrupt in the cache"
        with pytest.raises(ContentLost, match=said):
            Contents(ws, fetch=False).files(pointer)
        (file,) = Contents(ws, fetch=True).files(pointer).values()
        assert file.read_text() == "weights 3\n" * 50
