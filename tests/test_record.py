"""The materialised record and the stat cache: believed only where nothing can have changed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devml_git.cache import Cache
from devml_git.errors import StorageFailed
from devml_git.place import RACY_NS, Stat, wait_out_the_grain
from devml_git.record import _SCHEMA, PIPELINES, Hashed, Materialised, Record
from devml_git.scan import recall, scan
from devml_git.workspace import Workspace
from tests.world import Project

OID = "a" * 32
STAT = Stat(5, 10, 20, 30, 40)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    opened = Record(tmp_path)
    yield opened
    opened.close()


# -- R -------------------------------------------------------------------------------------------


def test_materialised_is_empty_at_first(record: Record) -> None:
    assert record.materialised() == {}
    assert not record.rebuilt


def test_materialised_survives_closing(tmp_path: Path) -> None:
    first = Record(tmp_path)
    first.set("models/a.pt", Materialised(f"{OID}+x1", OID, 5, None))
    first.set("data", Materialised("t", "b" * 32 + ".dir", 9, 2))
    first.close()
    second = Record(tmp_path)
    assert second.materialised() == {
        "models/a.pt": Materialised(f"{OID}+x1", OID, 5, None),
        "data": Materialised("t", "b" * 32 + ".dir", 9, 2),
    }
    second.close()


def test_set_replaces(record: Record) -> None:
    record.set("a", Materialised("one", OID))
    record.set("a", Materialised("two", OID))
    assert record.materialised() == {"a": Materialised("two", OID)}


def test_forget_drops_one_artifact_and_its_hashes(record: Record) -> None:
    for path in ("a", "b"):
        record.set(path, Materialised("t", OID))
        record.remember(path, [("", Hashed(STAT, OID))])
    record.forget("a")
    assert set(record.materialised()) == {"b"}
    assert record.hashes("a") == {}
    assert record.hashes("b") == {"": Hashed(STAT, OID)}


def test_transaction_that_fails_changes_nothing(record: Record) -> None:
    with pytest.raises(RuntimeError), record.writing():
        record.set("a", Materialised("t", OID))
        raise RuntimeError
    assert record.materialised() == {}


def test_nested_transactions_join(record: Record) -> None:
    with record.writing(), record.writing():
        record.set("a", Materialised("t", OID))
    assert set(record.materialised()) == {"a"}


# -- stat cache ----------------------------------------------------------------------------------


def test_hashes_are_remembered_by_name(record: Record) -> None:
    other = Stat(1, 2, 3, 2**63 - 1, 5)
    second = Hashed(other, "b" * 32, "c" * 64)
    record.remember("d", [("a", Hashed(STAT, OID)), ("é/b", second)])
    assert record.hashes("d") == {"a": Hashed(STAT, OID), "é/b": second}
    record.forget_files("d", ["a"])
    assert set(record.hashes("d")) == {"é/b"}


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns", "ino", "dev"])
def test_hash_is_believed_only_while_every_part_of_the_stat_is_the_same(
    field: str, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("x")
    cache = Cache(tmp_path / "cache")
    there = Stat.of((tmp_path / "x").stat())
    same = scan(tmp_path, "x", cache)
    recall(same, {"": Hashed(there, OID, "c" * 64)})
    assert (same.oids, same.sha256s) == ({"": OID}, {"": "c" * 64})
    other = scan(tmp_path, "x", cache)
    recall(other, {"": Hashed(replace(there, **{field: getattr(there, field) + 1}), OID)})
    assert other.oids == {}


def test_file_is_racy_when_it_changed_just_before_it_was_hashed() -> None:
    now = time.time_ns()
    assert Stat(1, now, now, 1, 1).racy(now)
    assert Stat(1, now - RACY_NS // 2, 0, 1, 1).racy(now)
    assert Stat(1, 0, now - RACY_NS // 2, 1, 1).racy(now)
    assert Stat(1, now + 10**12, 0, 1, 1).racy(now)
    assert not Stat(1, now - 2 * RACY_NS, now - 2 * RACY_NS, 1, 1).racy(now)


def test_waiting_out_the_grain_is_short_and_ends_for_a_time_in_the_future() -> None:
    began = time.monotonic()
    wait_out_the_grain(time.time_ns())
    wait_out_the_grain(time.time_ns() + 10**15)
    wait_out_the_grain(0)
    assert time.monotonic() - began < 1


def test_time_in_the_future_is_never_believed(project: Project) -> None:
    place = project.write("models/a.pt", "one")
    future = time.time_ns() + 10**12
    os.utime(place, ns=(future, future))
    project.devml("snapshot")
    with Workspace.discover(project.path) as ws:
        assert ws.record.hashes("models/a.pt") == {}
    assert project.states() == {"models/a.pt": "clean"}


def test_quiet_file_is_remembered_and_not_read_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.differential = False
    project.write("models/a.pt", "one")
    project.devml("snapshot")
    monkeypatch.setattr("devml_git.cache.Cache.hash", None)
    monkeypatch.setattr("devml_git.cache.Cache.put", None)
    assert project.states() == {"models/a.pt": "clean"}


def test_same_size_and_mtime_with_other_bytes_is_noticed(project: Project) -> None:
    project.differential = False  # stock DVC believes the mtime: hazard of its state database
    place = project.write("models/a.pt", "one")
    project.devml("snapshot")
    before = place.stat()
    place.write_text("two")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert project.states() == {"models/a.pt": "modified"}


def test_rewrite_in_the_same_instant_is_noticed_every_time(project: Project) -> None:
    project.differential = False
    place = project.write("models/a.pt", "00")
    for n in range(1, 15):
        place.write_text(f"{n:02}")
        project.devml("snapshot")
        place.write_text(f"{n + 50:02}")
        assert project.states() == {"models/a.pt": "modified"}, n


# -- a record that cannot be read ----------------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    [b"not a database at all, but long enough to be one" * 50, b"SQLite format 3\0" + b"\0" * 4096],
)
def test_broken_database_is_set_aside_and_begun_anew(junk: bytes, tmp_path: Path) -> None:
    (tmp_path / "record.db").write_bytes(junk)
    record = Record(tmp_path)
    assert record.rebuilt
    assert record.materialised() == {}
    record.set("a", Materialised("t", OID))
    record.close()
    assert (tmp_path / "record.broken").read_bytes() == junk


def test_truncated_database_is_set_aside(tmp_path: Path) -> None:
    record = Record(tmp_path)
    with record.writing():
        record.remember("d", [(f"n{i}", Hashed(STAT, OID)) for i in range(2000)])
    record.close()
    os.truncate(tmp_path / "record.db", 5000)
    again = Record(tmp_path)
    assert again.rebuilt
    again.close()


def test_empty_database_file_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "record.db").touch()
    record = Record(tmp_path)
    assert not record.rebuilt
    assert record.materialised() == {}
    record.close()


def test_database_of_another_version_is_set_aside(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "record.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    record = Record(tmp_path)
    assert record.rebuilt
    assert record.materialised() == {}
    record.close()


def test_broken_record_costs_a_warning_and_no_state(project: Project) -> None:
    project.write("models/a.pt", "one")
    project.commit("one")
    database = project.path / ".git" / "devml" / "record.db"
    database.write_bytes(b"junk" * 500)
    ran = project.devml("status")
    assert "set aside" in ran.out + ran.err
    assert project.states() == {"models/a.pt": "clean"}


def test_deleted_record_keeps_an_edit_an_edit(project: Project) -> None:
    project.write("models/a.pt", "one")
    project.commit("one")
    project.write("models/a.pt", "an edit")
    (project.path / ".git" / "devml" / "record.db").unlink()
    assert project.states() == {"models/a.pt": "modified"}
    assert project.read("models/a.pt") == "an edit"


def test_record_is_private_to_its_owner(project: Project) -> None:
    assert stat.S_IMODE((project.path / ".git" / "devml").stat().st_mode) == 0o700


# -- pipelines -----------------------------------------------------------------------------------


def test_pipeline_answers_are_kept_until_there_are_many(record: Record) -> None:
    for n in range(PIPELINES):
        record.set_pipeline(f"k{n}", "one")
    record.set_pipeline("k0", "two")
    assert record.pipeline("k0") == "two"
    assert record.pipeline("k1") is None
    record.set_pipeline("k1", "one")
    assert record.pipeline("k0") == "two"


@pytest.mark.parametrize("version", [-1, 3, 99])
def test_only_our_own_version_is_read(version: int, tmp_path: Path) -> None:
    Record(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "record.db")) as db:
        db.execute(f"PRAGMA user_version = {version}")
    again = Record(tmp_path)
    assert again.rebuilt
    again.close()


def test_record_of_the_first_version_is_kept_and_knows_no_second_hash(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "record.db")) as db:
        old = _SCHEMA.replace("sha256 TEXT, ", "")
        db.executescript(f"{old}; PRAGMA user_version = 1")
        db.execute("INSERT INTO file VALUES ('a', '', 1, 2, 3, 4, 5, ?)", (OID,))
        db.execute("INSERT INTO artifact VALUES ('a', 't', ?, 1, NULL)", (OID,))
        db.commit()
    for _ in range(2):
        record = Record(tmp_path)
        assert not record.rebuilt
        assert record.hashes("a") == {"": Hashed(Stat(1, 2, 3, 4, 5), OID, None)}
        assert record.materialised() == {"a": Materialised("t", OID, 1)}
        record.close()
    with contextlib.closing(Record(tmp_path)) as record:
        record.remember("a", [("", Hashed(STAT, OID, "c" * 64))])
        assert record.hashes("a")[""].sha256 == "c" * 64


def test_what_belongs_to_a_broken_database_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "record.db").write_bytes(b"broken" * 1000)
    for suffix in ("-journal", "-wal", "-shm"):
        (tmp_path / f"record.db{suffix}").write_bytes(b"of the broken one")
    record = Record(tmp_path)
    record.set("a", Materialised("t", OID))
    assert record.materialised().keys() == {"a"}
    record.close()
    assert {p.name for p in tmp_path.iterdir()} == {"record.db", "record.broken"}


@pytest.mark.parametrize("mark", [-1, 0, 2, 99])
def test_record_is_fresh_until_somebody_has_looked_at_everything(tmp_path: Path, mark: int) -> None:
    record = Record(tmp_path)
    assert record.fresh
    record.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "record.db")) as db:
        db.execute(f"PRAGMA application_id = {mark}")
    record = Record(tmp_path)
    assert record.fresh
    record.complete()
    assert not record.fresh
    record.complete()
    record.close()
    again = Record(tmp_path)
    assert not again.fresh
    assert not again.rebuilt
    again.close()


def test_materialised_is_a_value() -> None:
    with pytest.raises(AttributeError):
        Materialised("t", OID).oid = "x"  # type: ignore[misc]


# -- when the database refuses -------------------------------------------------------------------


def test_record_in_use_by_another_process_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{**k, "timeout": 0}))
    one, two = Record(tmp_path), Record(tmp_path)
    try:
        with one.writing(), pytest.raises(StorageFailed, match="in use by another") as refused:
            two.set("a", Materialised("t", OID))
        assert "wait for it" in (refused.value.hint or "")
        two.set("a", Materialised("t", OID))
    finally:
        one.close()
        two.close()


def test_record_that_cannot_grow_is_an_error_that_names_it(record: Record) -> None:
    (pages,) = record._db.execute("PRAGMA page_count").fetchone()
    record._db.execute(f"PRAGMA max_page_count={pages}")
    rows = [(f"{n:0100}", Hashed(STAT, OID)) for n in range(2000)]
    with pytest.raises(StorageFailed, match=r"record\.db: database or disk is full") as refused:
        record.remember("a", rows)
    assert "nothing was lost" in (refused.value.hint or "")
    record._db.execute("PRAGMA max_page_count=100000")
    record.remember("a", rows)
    assert len(record.hashes("a")) == 2000


def test_full_disk_in_a_transaction_undoes_all_of_it(record: Record) -> None:
    (pages,) = record._db.execute("PRAGMA page_count").fetchone()
    record._db.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StorageFailed), record.writing():
        for n in range(2000):
            record.set(f"{n:0100}", Materialised("t", OID))
    assert record.materialised() == {}


def test_record_that_may_not_be_written_is_an_error_that_says_what_to_check(
    record: Record,
) -> None:
    record._db.execute("PRAGMA query_only=1")
    with pytest.raises(StorageFailed, match="readonly") as refused:
        record.set("a", Materialised("t", OID))
    assert "permissions" in (refused.value.hint or "")


def test_record_in_a_directory_that_is_gone_is_an_error_and_nothing_is_set_aside(
    tmp_path: Path,
) -> None:
    with pytest.raises(StorageFailed, match="unable to open") as refused:
        Record(tmp_path / "gone")
    assert "permissions" in (refused.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_database_are_told_without_a_hint(record: Record) -> None:
    with pytest.raises(StorageFailed, match="no such table") as refused:
        record._run("SELECT * FROM nowhere")
    assert refused.value.hint is None


def test_forgetting_content_keeps_what_is_known_of_files(record: Record) -> None:
    record.set("a", Materialised("t", OID))
    record.remember("a", [("", Hashed(STAT, OID)), ("x", Hashed(STAT, OID))])
    record.forget_content("a")
    assert record.materialised() == {}
    record.forget_files("a", ["x"])
    assert record.hashes("a") == {"": Hashed(STAT, OID)}


def test_released_are_those_without_a_token(record: Record) -> None:
    record.set("kept", Materialised("t", OID))
    record.set("let go", Materialised("", ""))
    assert record.released() == ["let go"]
