"""Content in and out of the cache: hashed on the way, the workspace untouched, nothing wrong let out."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devml_git import gate, streams
from devml_git.cache import MANIFESTS_KEPT, Cache, Corrupt, Source
from devml_git.errors import ContentLost, Refused, StorageFailed
from devml_git.manifest import manifest_bytes, manifest_oid
from devml_git.nouns import LEGACY, MD5
from devml_git.progress import Progress
from tests.twins import TWINS
from tests.world import run

SMALL = b"small content"
LARGE = bytes(range(256)) * 12_000  # above the size that is read in one piece
SIZES = pytest.mark.parametrize("data", [SMALL, LARGE, b""], ids=["small", "large", "empty"])


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    """The workspace directory, open."""
    (tmp_path / "work").mkdir()
    fd = os.open(tmp_path / "work", os.O_RDONLY)
    yield fd
    os.close(fd)


def source(tmp_path: Path, name: str, data: bytes) -> Source:
    place = tmp_path / name
    place.write_bytes(data)
    return Source(str(place), name, len(data))


def put(cache: Cache, tmp_path: Path, data: bytes, name: str = "x") -> str:
    (stored,) = cache.put([source(tmp_path, name, data)])
    return stored.oid


def files_in(cache: Cache) -> set[str]:
    return {p.relative_to(cache.root).as_posix() for p in cache.root.rglob("*") if p.is_file()}


class Meddle(Progress):
    """Does something to the file while it is read, the first `times` times."""

    def __init__(self, what: object, times: int = 10**9) -> None:
        self.what, self.left = what, times

    def advance(self, nbytes: int) -> None:
        if self.left:
            self.left -= 1
            assert callable(self.what)
            self.what()


# -- in ------------------------------------------------------------------------------------------


@SIZES
def test_put_stores_content_under_its_md5_read_only(
    data: bytes, cache: Cache, tmp_path: Path
) -> None:
    oid = put(cache, tmp_path, data)
    place = cache.object_path(oid)
    assert oid == md5(data)
    assert place == cache.root / "files" / "md5" / oid[:2] / oid[2:]
    assert place.read_bytes() == data
    assert place.stat().st_mode & 0o777 == 0o444


@SIZES
def test_put_leaves_no_temporary_file(data: bytes, cache: Cache, tmp_path: Path) -> None:
    oid = put(cache, tmp_path, data)
    assert files_in(cache) == {f"files/md5/{oid[:2]}/{oid[2:]}"}


@SIZES
def test_put_does_not_touch_the_workspace_file(data: bytes, cache: Cache, tmp_path: Path) -> None:
    one = source(tmp_path, "x", data)
    os.chmod(one.path, 0o640)
    os.utime(one.path, ns=(1_000_000_000, 2_000_000_000))
    before = os.stat(one.path)
    cache.put([one])
    after = os.stat(one.path)
    for field in ("st_ino", "st_mtime_ns", "st_ctime_ns", "st_mode", "st_size", "st_nlink"):
        assert getattr(before, field) == getattr(after, field)


def test_put_returns_results_in_the_order_asked(cache: Cache, tmp_path: Path) -> None:
    datas = [b"a" * n for n in (3, 2_000_000, 1, 3_000_000, 2)]
    stored = cache.put([source(tmp_path, str(i), d) for i, d in enumerate(datas)])
    assert [s.oid for s in stored] == [md5(d) for d in datas]
    assert all(cache.verify(s.oid) for s in stored)


def test_put_reads_large_files_in_parallel(cache: Cache, tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=20)

    class Meet(Progress):
        met = False

        def advance(self, nbytes: int) -> None:
            if not self.met and both.n_waiting < 2:
                both.wait()
                self.met = True

    cache.put([source(tmp_path, str(i), LARGE + bytes([i])) for i in range(2)], Meet())


def test_put_of_many_small_files_stores_all(cache: Cache, tmp_path: Path) -> None:
    datas = [b"file %d" % n for n in range(200)]
    stored = cache.put([source(tmp_path, str(i), d) for i, d in enumerate(datas)])
    assert [s.oid for s in stored] == [md5(d) for d in datas]
    assert all(cache.object_path(s.oid).stat().st_mode & 0o777 == 0o444 for s in stored)
    assert cache.total() == (200, sum(map(len, datas)))


@SIZES
def test_same_content_twice_is_stored_once(data: bytes, cache: Cache, tmp_path: Path) -> None:
    one, two = source(tmp_path, "a", data), source(tmp_path, "b", data)
    stored = cache.put([one, two])
    assert stored[0].oid == stored[1].oid
    assert len(files_in(cache)) == 1


@SIZES
def test_object_that_is_there_is_not_written_again(
    data: bytes, cache: Cache, tmp_path: Path
) -> None:
    oid = put(cache, tmp_path, data)
    before = cache.object_path(oid).stat()
    assert put(cache, tmp_path, data, "again") == oid
    after = cache.object_path(oid).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@SIZES
def test_corrupt_object_of_the_same_name_is_set_aside_and_replaced(
    data: bytes, cache: Cache, tmp_path: Path
) -> None:
    oid = put(cache, tmp_path, data)
    place = cache.object_path(oid)
    wrong = b"rot" + data[3:] if data else b"rot"
    place.chmod(0o644)
    place.write_bytes(wrong)
    place.chmod(0o444)
    assert put(cache, tmp_path, data, "again") == oid
    assert place.read_bytes() == data
    aside = list((cache.root / "quarantine").iterdir())
    assert [p.read_bytes() for p in aside] == [wrong]


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "in one go"])
@pytest.mark.parametrize("more", [b"", bytes(3 << 20)], ids=["small", "large"])
def test_two_contents_made_to_have_one_md5_are_told_and_the_first_one_stays(
    more: bytes, together: bool, cache: Cache, tmp_path: Path
) -> None:
    first, second = (
        source(tmp_path, name, data + more) for name, data in zip("ab", TWINS, strict=True)
    )
    oid = hashlib.md5(TWINS[0] + more).hexdigest()
    assert hashlib.md5(TWINS[1] + more).hexdigest() == oid
    if not together:
        cache.put([first])
    with pytest.raises(StorageFailed, match=f"same MD5 {oid}.*collide"):
        cache.put([first, second] if together else [second])
    assert cache.has(oid) is not together
    assert together or cache.object_path(oid).read_bytes() == TWINS[0] + more
    assert not (cache.root / "quarantine").exists()


@pytest.mark.parametrize("how", ["grow", "rewrite", "touch", "truncate"])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_file_that_keeps_changing_is_refused_by_name_and_leaves_nothing(
    data: bytes, how: str, cache: Cache, tmp_path: Path
) -> None:
    one = source(tmp_path, "models_busy.pt", data)
    turn = iter(range(10**6))

    def meddle() -> None:
        n = next(turn)
        if how == "grow":
            with open(one.path, "ab") as f:
                f.write(b"more")
        elif how == "rewrite":
            Path(one.path).write_bytes(bytes([n % 256]) + data[1:])
        elif how == "truncate":
            os.truncate(one.path, n % 2)
        else:
            os.utime(one.path, ns=(n, n))

    with pytest.raises(StorageFailed, match=r"models_busy\.pt keeps changing"):
        cache.put([one], Meddle(meddle))
    assert files_in(cache) == set()


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_file_that_changes_once_is_read_again(data: bytes, cache: Cache, tmp_path: Path) -> None:
    one = source(tmp_path, "x", data)
    final = data + b"the end"
    (stored,) = cache.put([one], Meddle(lambda: Path(one.path).write_bytes(final), times=1))
    assert stored.oid == md5(final)
    assert cache.object_path(stored.oid).read_bytes() == final
    assert len(files_in(cache)) == 1


def test_one_changing_file_leaves_none_of_the_others(cache: Cache, tmp_path: Path) -> None:
    good = [source(tmp_path, f"g{i}", LARGE + bytes([i])) for i in range(3)]
    bad = source(tmp_path, "bad", LARGE)

    def grow() -> None:
        with open(bad.path, "ab") as f:
            f.write(b".")

    with pytest.raises(StorageFailed, match="bad keeps changing"):
        cache.put([*good, bad], Meddle(grow))
    assert files_in(cache) == set()


def test_file_that_vanished_is_named(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="gone.pt vanished"):
        cache.put([Source(str(tmp_path / "gone.pt"), "gone.pt", 5)])


def test_named_pipe_is_refused_without_waiting(cache: Cache, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageFailed, match="pipe is a named pipe"):
        cache.put([Source(str(tmp_path / "pipe"), "pipe", 0)])


def test_link_is_not_followed(cache: Cache, tmp_path: Path) -> None:
    one = source(tmp_path, "x", SMALL)
    (tmp_path / "link").symlink_to("x")
    with pytest.raises(StorageFailed, match="link"):
        cache.put([Source(str(tmp_path / "link"), "link", one.size)])


@SIZES
def test_full_disk_is_an_error_with_a_hint_and_leaves_nothing(
    data: bytes, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(StorageFailed, match="no space left") as caught:
        put(cache, tmp_path, data)
    assert caught.value.hint is not None
    assert "free some space" in caught.value.hint
    assert files_in(cache) == set()


def test_file_hashed_right_after_it_changed_is_not_quiet(cache: Cache, tmp_path: Path) -> None:
    one = source(tmp_path, "x", SMALL)
    assert not cache.put([one])[0].quiet
    time.sleep(0.05)
    assert cache.put([one])[0].quiet


def test_hash_stores_nothing(cache: Cache, tmp_path: Path) -> None:
    stored = cache.hash([source(tmp_path, "a", SMALL), source(tmp_path, "b", LARGE)])
    assert [s.oid for s in stored] == [md5(SMALL), md5(LARGE)]
    assert not cache.root.exists()


# -- reflink -------------------------------------------------------------------------------------


def test_clone_is_hashed_after_it_was_made(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone cannot change any more: the file may, and the content is the clone's."""

    def cloned(src: int, out: int) -> bool:
        os.write(out, os.read(src, len(LARGE)))
        return True

    monkeypatch.setattr(streams, "_clone", cloned)
    assert put(cache, tmp_path, LARGE) == md5(LARGE)
    assert cache.verify(md5(LARGE))


def test_content_is_copied_where_the_file_system_cannot_clone(
    cache: Cache, tmp_path: Path, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_clone", lambda _src, _out: False)
    oid = put(cache, tmp_path, LARGE)
    cache.write_out(oid, here, "y", executable=False)
    assert (tmp_path / "work" / "y").read_bytes() == LARGE


# -- manifests -----------------------------------------------------------------------------------

MEMBERS = {
    "b.csv": b"b", "a/b.csv": b"ab", "a.csv": b"", "a/é.txt": b"accent", "Z": b"zed", "a b": b"space",
    "🙂": b"smile", "a/b/c/d": b"deep", 'q"uote': b"q", "back\\slash": b"bs", "e\u0301": b"nfd",
}  # fmt: skip


def test_manifest_is_byte_identical_with_dvcs(cache: Cache, tmp_path: Path) -> None:
    from dvc.repo import Repo

    run("git", "init", "-q", cwd=tmp_path)
    for name, data in MEMBERS.items():
        place = tmp_path / "d" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    with Repo.init(str(tmp_path)) as repo:
        repo.add([str(tmp_path / "d")])
    (theirs,) = (tmp_path / ".dvc" / "cache" / "files" / "md5").glob("??/*.dir")
    oid, size = cache.put_manifest({name: md5(data) for name, data in MEMBERS.items()})
    assert oid == theirs.parent.name + theirs.name
    assert cache.object_path(oid).read_bytes() == theirs.read_bytes()
    assert size == theirs.stat().st_size


def test_manifest_is_read_back(cache: Cache) -> None:
    members = {name: md5(data) for name, data in MEMBERS.items()}
    oid, _ = cache.put_manifest(members)
    assert oid == manifest_oid(members)
    assert cache.manifest(oid) == members
    assert cache.object_path(oid).stat().st_mode & 0o777 == 0o444


def test_manifest_that_is_absent_is_lost(cache: Cache) -> None:
    with pytest.raises(ContentLost):
        cache.manifest("a" * 32 + ".dir")


def test_manifest_with_wrong_bytes_is_corrupt(cache: Cache) -> None:
    oid, _ = cache.put_manifest({"a": md5(b"a")})
    place = cache.object_path(oid)
    place.chmod(0o644)
    place.write_bytes(manifest_bytes({"a": md5(b"b")}))
    with pytest.raises(Corrupt):
        cache.manifest(oid)


def test_corrupt_manifest_counts_as_missing_itself(cache: Cache) -> None:
    oid, _ = cache.put_manifest({"a": md5(b"a")})
    place = cache.object_path(oid)
    place.chmod(0o644)
    place.write_bytes(b"[]")
    assert cache.missing_of(oid) == [oid]
    assert cache.missing_of(md5(b"nowhere")) == [md5(b"nowhere")]


def test_manifest_larger_than_the_gate_allows_is_refused_unread(cache: Cache) -> None:
    oid = "a" * 32 + ".dir"
    place = cache.object_path(oid)
    place.parent.mkdir(parents=True)
    with place.open("wb") as file:
        file.truncate(gate.MAX_MANIFEST_BYTES + 1)
    with pytest.raises(Refused, match="larger than"):
        cache.manifest(oid)


def test_manifest_that_cannot_be_read_just_now_is_not_called_corrupt(cache: Cache) -> None:
    oid = "a" * 32 + ".dir"
    cache.object_path(oid).mkdir(parents=True)
    with pytest.raises(StorageFailed):
        cache.manifest(oid)


def test_manifest_is_read_once_until_too_many_others_were(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    oids = [cache.put_manifest({f"{n}": md5(b"a")})[0] for n in range(MANIFESTS_KEPT + 1)]
    read: list[Path] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: read.append(p) or real(p))
    for oid in [*oids[:MANIFESTS_KEPT], *oids[:MANIFESTS_KEPT], oids[-1], oids[0]]:
        cache.manifest(oid)["0"] = "what a caller does to its own copy"
    assert len(read) == MANIFESTS_KEPT + 2
    assert cache.manifest(oids[0]) == {"0": md5(b"a")}


HOSTILE = {
    "climbs out": [{"md5": "a" * 32, "relpath": "../x"}],
    "absolute": [{"md5": "a" * 32, "relpath": "/etc/passwd"}],
    "git": [{"md5": "a" * 32, "relpath": ".git/config"}],
    "git, other case": [{"md5": "a" * 32, "relpath": "sub/.GIT/hooks/pre-commit"}],
    "empty": [{"md5": "a" * 32, "relpath": ""}],
    "no path": [{"md5": "a" * 32}],
    "oid a path": [{"md5": "../../x", "relpath": "x"}],
    "oid of a directory": [{"md5": "a" * 32 + ".dir", "relpath": "x"}],
    "twice": [{"md5": "a" * 32, "relpath": "x"}, {"md5": "b" * 32, "relpath": "x"}],
    "file and directory": [{"md5": "a" * 32, "relpath": "x"}, {"md5": "b" * 32, "relpath": "x/y"}],
    "control character": [{"md5": "a" * 32, "relpath": "a\x1bb"}],
    "not a list": {"md5": "a" * 32, "relpath": "x"},
    "not mappings": ["x"],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_manifest_is_refused(kind: str, cache: Cache) -> None:
    data = json.dumps(HOSTILE[kind]).encode()
    oid = md5(data) + ".dir"
    place = cache.object_path(oid)
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    with pytest.raises(Refused):
        cache.manifest(oid)


def test_missing_members_are_named(cache: Cache, tmp_path: Path) -> None:
    there = put(cache, tmp_path, b"there")
    oid, _ = cache.put_manifest({"a": there, "b": md5(b"not there")})
    assert cache.missing_of(oid) == [md5(b"not there")]
    assert cache.missing_of(there) == []
    assert cache.missing_of(md5(b"?")) == [md5(b"?")]


@pytest.mark.parametrize("hash_name", [MD5, LEGACY])
@pytest.mark.parametrize("spread", [8, 0])
def test_many_objects_are_lacking_as_each_of_them_is(
    cache: Cache, hash_name: str, spread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are listed or, where the cache has many more, asked for."""
    monkeypatch.setattr("devml_git.cache._MANY", 10)
    monkeypatch.setattr("devml_git.cache._SPREAD", spread)
    oids = [md5(str(n).encode()) for n in range(40)]
    for n, oid in enumerate(oids):
        place = cache.object_path(oid, hash_name)
        place.parent.mkdir(parents=True, exist_ok=True)
        if n % 4 == 0:
            place.write_bytes(b"x")
        elif n % 4 == 1:
            place.mkdir()
        elif n % 4 == 2:
            place.symlink_to("/dev/null")
    assert cache.lacking(oids, hash_name) == {o for o in oids if not cache.has(o, hash_name)}
    assert len(cache.lacking(oids, hash_name)) == 30


@pytest.mark.parametrize(
    "oid", ["", "abc", "../../../etc/passwd", "A" * 32, "a" * 32 + ".dirx", "a" * 33]
)
def test_what_is_no_object_id_leads_nowhere(oid: str, cache: Cache) -> None:
    with pytest.raises(Refused):
        cache.object_path(oid)


# -- out -----------------------------------------------------------------------------------------


@SIZES
@pytest.mark.parametrize(("executable", "mode"), [(False, 0o644), (True, 0o755)])
def test_content_comes_out_as_it_went_in(
    data: bytes, executable: bool, mode: int, cache: Cache, tmp_path: Path, here: int
) -> None:
    old = os.umask(0o022)
    try:
        oid = put(cache, tmp_path, data)
        cache.write_out(oid, here, "y", executable=executable)
    finally:
        os.umask(old)
    place = tmp_path / "work" / "y"
    assert place.read_bytes() == data
    assert place.stat().st_mode & 0o777 == mode
    assert place.stat().st_ino != cache.object_path(oid).stat().st_ino


def corrupt(cache: Cache, oid: str) -> None:
    place = cache.object_path(oid)
    place.chmod(0o644)
    data = place.read_bytes()
    place.write_bytes(data[:-1] + b"?" if data else b"?")
    place.chmod(0o444)


@SIZES
@pytest.mark.parametrize("types", [("copy",), ("reflink", "copy"), ("hardlink",), ("symlink",)])
def test_corrupt_object_never_comes_out(
    data: bytes, types: tuple[str, ...], tmp_path: Path, here: int
) -> None:
    cache = Cache(tmp_path / "cache", types)
    oid = put(cache, tmp_path, data)
    corrupt(cache, oid)
    with pytest.raises(Corrupt) as caught:
        cache.write_out(oid, here, "y", executable=False)
    assert caught.value.oid == oid
    assert os.listdir(here) == []


@pytest.mark.parametrize("sorts", ["before", "after"])
def test_wrong_bytes_are_found_by_every_reader_whichever_way_their_hash_sorts(
    sorts: str, cache: Cache, tmp_path: Path, here: int
) -> None:
    right = next(
        d for d in (b"[%d]" % n for n in range(1000)) if (md5(d) > md5(b"wrong")) is (sorts == "before")
    )  # fmt: skip
    oid, wrong = put(cache, tmp_path, right), cache.new_temporary()
    for place in (cache.object_path(oid), cache.object_path(f"{oid}.dir"), wrong):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_bytes(b"wrong")
    assert not cache.verify(oid)
    assert not cache.adopt(oid, wrong, "md5")
    with pytest.raises(Corrupt):
        cache.manifest(f"{oid}.dir")
    with pytest.raises(Corrupt):
        cache.write_out(oid, here, "y", executable=False)


def test_object_that_is_gone_is_lost_and_leaves_no_file(cache: Cache, here: int) -> None:
    with pytest.raises(ContentLost):
        cache.write_out("a" * 32, here, "y", executable=False)
    assert os.listdir(here) == []


def test_write_out_never_replaces_a_file(cache: Cache, tmp_path: Path, here: int) -> None:
    oid = put(cache, tmp_path, SMALL)
    (tmp_path / "work" / "y").write_text("the user's")
    with pytest.raises(FileExistsError):
        cache.write_out(oid, here, "y", executable=False)
    assert (tmp_path / "work" / "y").read_text() == "the user's"


def test_write_out_follows_no_link_at_its_target(cache: Cache, tmp_path: Path, here: int) -> None:
    oid = put(cache, tmp_path, SMALL)
    (tmp_path / "work" / "y").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        cache.write_out(oid, here, "y", executable=False)
    assert not (tmp_path / "elsewhere").exists()


def test_object_that_is_a_link_is_not_read_out(cache: Cache, tmp_path: Path, here: int) -> None:
    (tmp_path / "secret").write_bytes(SMALL)
    place = cache.object_path(md5(SMALL))
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        cache.write_out(md5(SMALL), here, "y", executable=False)
    assert os.listdir(here) == []


def test_configured_hardlink_shares_the_object(tmp_path: Path, here: int) -> None:
    cache = Cache(tmp_path / "cache", ("hardlink", "copy"))
    oid = put(cache, tmp_path, SMALL)
    cache.write_out(oid, here, "y", executable=False)
    assert (tmp_path / "work" / "y").stat().st_ino == cache.object_path(oid).stat().st_ino


def test_configured_symlink_points_to_the_object(tmp_path: Path, here: int) -> None:
    cache = Cache(tmp_path / "cache", ("symlink",))
    oid = put(cache, tmp_path, SMALL)
    cache.write_out(oid, here, "y", executable=False)
    assert os.readlink(tmp_path / "work" / "y") == str(cache.object_path(oid))
    assert cache.object_behind(tmp_path / "work" / "y") == cache.object_path(oid)


@pytest.mark.parametrize("types", [("hardlink", "copy"), ("symlink", "copy")])
def test_executable_and_empty_files_are_copied_never_linked(
    types: tuple[str, ...], tmp_path: Path, here: int
) -> None:
    cache = Cache(tmp_path / "cache", types)
    cache.write_out(put(cache, tmp_path, SMALL), here, "run", executable=True)
    cache.write_out(put(cache, tmp_path, b""), here, "empty", executable=False)
    for name in ("run", "empty"):
        st = (tmp_path / "work" / name).lstat()
        assert st.st_nlink == 1
        assert st.st_mode & 0o200
    assert not cache.object_path(md5(SMALL)).stat().st_mode & 0o111


@pytest.mark.parametrize("call", ["link", "symlink"])
def test_content_is_copied_where_links_cannot_be(
    call: str, tmp_path: Path, here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "other file system")

    monkeypatch.setattr(os, call, fail)
    cache = Cache(tmp_path / "cache", ("hardlink",) if call == "link" else ("symlink", "hardlink"))
    if call == "symlink":
        monkeypatch.setattr(os, "link", fail)
    cache.write_out(put(cache, tmp_path, SMALL), here, "y", executable=False)
    there = tmp_path / "work" / "y"
    assert (there.read_bytes(), there.lstat().st_nlink, there.is_symlink()) == (SMALL, 1, False)


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_corrupt_object_is_not_linked_out(kind: str, tmp_path: Path, here: int) -> None:
    cache = Cache(tmp_path / "cache", (kind,))
    oid = put(cache, tmp_path, SMALL)
    cache.object_path(oid).chmod(0o644)
    cache.object_path(oid).write_bytes(SMALL[::-1])
    with pytest.raises(Corrupt):
        cache.write_out(oid, here, "y", executable=False)
    assert os.listdir(here) == []


def test_link_into_the_cache_to_what_is_no_object_is_none(cache: Cache, tmp_path: Path) -> None:
    put(cache, tmp_path, SMALL)
    (tmp_path / "link").symlink_to(cache.objects / "ab" / "junk")
    assert cache.object_behind(tmp_path / "link") is None


def test_link_elsewhere_is_no_link_to_an_object(cache: Cache, tmp_path: Path) -> None:
    put(cache, tmp_path, SMALL)
    (tmp_path / "link").symlink_to("x")
    assert cache.object_behind(tmp_path / "link") is None
    assert cache.object_behind(tmp_path / "x") is None


# -- proof ---------------------------------------------------------------------------------------


@SIZES
def test_verify_reads_the_bytes_whatever_the_mode(
    data: bytes, cache: Cache, tmp_path: Path
) -> None:
    oid = put(cache, tmp_path, data)
    assert cache.verify(oid)
    corrupt(cache, oid)
    assert cache.has(oid)
    assert not cache.verify(oid)
    assert not cache.verify("a" * 32)


@SIZES
def test_holds_is_true_for_the_same_bytes_only(
    data: bytes, cache: Cache, tmp_path: Path, here: int
) -> None:
    oid = put(cache, tmp_path, data)
    (tmp_path / "work" / "same").write_bytes(data)
    (tmp_path / "work" / "longer").write_bytes(data + b".")
    (tmp_path / "work" / "other").write_bytes(b"?" + data[1:])
    assert cache.holds(oid, here, "same")
    assert not cache.holds(oid, here, "longer")
    assert not cache.holds(oid, here, "other")
    assert not cache.holds("a" * 32, here, "same")
    assert not cache.holds(oid, here, "absent")


def test_holds_is_false_when_the_object_rotted(cache: Cache, tmp_path: Path, here: int) -> None:
    oid = put(cache, tmp_path, LARGE)
    (tmp_path / "work" / "y").write_bytes(LARGE)
    corrupt(cache, oid)
    assert not cache.holds(oid, here, "y")


def test_holds_follows_no_foreign_link(cache: Cache, tmp_path: Path, here: int) -> None:
    oid = put(cache, tmp_path, SMALL)
    (tmp_path / "work" / "y").symlink_to(tmp_path / "x")
    assert not cache.holds(oid, here, "y")
    (tmp_path / "work" / "z").symlink_to(cache.object_path(oid))
    assert cache.holds(oid, here, "z")


def test_adopt_takes_what_is_right_and_nothing_else(cache: Cache) -> None:
    right, wrong = cache.new_temporary(), cache.new_temporary()
    right.write_bytes(SMALL)
    wrong.write_bytes(b"forged")
    assert cache.adopt(md5(SMALL), right, "md5")
    assert not cache.adopt(md5(b"asked for"), wrong, "md5")
    assert cache.verify(md5(SMALL))
    assert cache.object_path(md5(SMALL)).stat().st_mode & 0o777 == 0o444
    assert not cache.has(md5(b"asked for"))


def test_legacy_objects_lie_in_the_old_layout_and_are_hashed_as_text(cache: Cache) -> None:
    text = b"a\r\nb\r\n"
    oid = md5(b"a\nb\n")
    temp = cache.new_temporary()
    temp.write_bytes(text)
    assert cache.adopt(oid, temp, LEGACY)
    assert (cache.root / oid[:2] / oid[2:]).read_bytes() == text
    assert cache.verify(oid, LEGACY)
    assert not cache.has(oid)


@pytest.mark.parametrize(
    "data",
    [b"a\r\nb", b"\0\r\n", bytes(range(256)) * 8, b"text\r\n" * 300_000, "é\r\n".encode() * 200, b""],
)  # fmt: skip
def test_legacy_hash_is_dvcs(data: bytes, tmp_path: Path) -> None:
    from dvc.fs import LocalFileSystem
    from dvc_data.hashfile.hash import file_md5

    (tmp_path / "x").write_bytes(data)
    theirs = file_md5(str(tmp_path / "x"), LocalFileSystem(), name="md5-dos2unix")
    assert streams.legacy_hash(os.open(tmp_path / "x", os.O_RDONLY)) == theirs


# -- the directory itself ------------------------------------------------------------------------


def test_shared_cache_makes_directories_group_writable(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", shared=True)
    old = os.umask(0o077)
    try:
        oid = put(cache, tmp_path, SMALL)
    finally:
        os.umask(old)
    shard = cache.object_path(oid).parent
    for place in (shard, cache.objects, cache.root / "files"):
        assert place.stat().st_mode & 0o7777 == 0o2775, place
    assert cache.object_path(oid).stat().st_mode & 0o777 == 0o444


def test_private_cache_obeys_the_umask(cache: Cache, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        oid = put(cache, tmp_path, SMALL)
    finally:
        os.umask(old)
    assert cache.object_path(oid).parent.stat().st_mode & 0o7777 == 0o700


def test_read_only_cache_is_an_error_in_words(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = source(tmp_path, "x", SMALL)
    real = os.open

    def refuse(path: object, flags: int, *rest: object, **named: object) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageFailed, match="read-only"):
        cache.put([one])


def test_object_that_cannot_be_opened_just_now_is_not_called_corrupt(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the fault campaign: out of descriptors, a good object was set aside as corrupt."""
    (tmp_path / "a").write_bytes(b"good")
    oid = cache.put([Source(str(tmp_path / "a"), "a", 4)])[0].oid

    def out_of_descriptors(path: object, *_args: object, **_more: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", out_of_descriptors)
        with pytest.raises(StorageFailed, match="too many open files"):
            cache.verify(oid)
    assert cache.verify(oid)
    assert not cache.verify("0" * 32)


def test_total_counts_objects_and_no_temporary_files(cache: Cache, tmp_path: Path) -> None:
    assert cache.total() == (0, 0)
    oid = put(cache, tmp_path, SMALL)
    put(cache, tmp_path, LARGE, "y")
    (cache.object_path(oid).parent / ".left.tmp").write_bytes(b"left")
    assert cache.total() == (2, len(SMALL) + len(LARGE))


def test_quarantine_keeps_the_bytes_and_says_where(cache: Cache, tmp_path: Path) -> None:
    oid = put(cache, tmp_path, SMALL)
    aside = cache.quarantine(oid)
    assert aside is not None
    assert aside.read_bytes() == SMALL
    assert not cache.has(oid)
    assert cache.quarantine(oid) is None
    put(cache, tmp_path, SMALL, "again")
    second = cache.quarantine(oid)
    assert second not in {None, aside}


def test_cache_whose_directories_are_not_there_yet_is_made(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "on" / "a new" / "disk")
    assert cache.has(put(cache, tmp_path, SMALL))


def test_link_to_another_object_holds_nothing(cache: Cache, tmp_path: Path, here: int) -> None:
    oids = sorted(put(cache, tmp_path, data, data.decode()) for data in (b"one", b"two"))
    for one, other in (oids, oids[::-1]):
        os.symlink(cache.object_path(one), one, dir_fd=here)
        assert cache.holds(one, here, one)
        assert not cache.holds(other, here, one)
