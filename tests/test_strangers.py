"""Tables, images, recordings, metrics and paths of a stranger: clear words, at little cost."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given

import devml_git
from devml_git import (
    config,
    measures,
    measuring,
    media,
    models,
    pointers,
    rows,
    tables,
    tensors,
    textconv,
    yamltext,
)
from devml_git.config import Config
from devml_git.errors import Refused, UsageError
from devml_git.inwords import Known, describe
from devml_git.kept import Kept
from devml_git.output import Output
from devml_git.plumbing import Git
from tests.models.test_hostile import rebuilt, torch_zip
from tests.test_measures import WORDS, yaml_blocks
from tests.world import Project


class Clock:
    """Holds that what is done takes no longer than so many seconds, on a slow machine."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.began = time.process_time()

    def __exit__(self, *exc: object) -> None:
        assert time.process_time() - self.began < self.seconds


# -- images and recordings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.jpg", b"\xff\xd8\xff\xe1\xff\xff"),
        ("b.jpg", b"\xff\xd8" + b"\xff\xfe\x00\x04ab" * 100_000),
        ("a.mp3", b"\xff\xfb\x90\x00" + bytes(413)),
        ("a.wav", b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\0\0\0\0" * 100_000),
        ("a.tif", b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 256, 1, 0x0FFFFFFF, 8) * 65535),
    ],
)
def test_header_without_an_end_is_given_up(tmp_path: Path, name: str, head: bytes) -> None:
    with (tmp_path / name).open("wb") as file:
        file.write(head)
        file.truncate(1 << 30)
    with Clock(3):
        found, (note,) = media.compare(Git(tmp_path), None, tmp_path / name, name)
    assert found is None
    assert "does not end where it should" in note


def test_what_no_decoder_is_asked_for_is_told_without_a_path(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    _, (note,) = media.compare(Git(tmp_path), None, tmp_path / "x.png", "x.png")
    assert note == "no image that can be read: none of PNG, JPEG, GIF, BMP, WEBP, TIFF, or damaged"


# -- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", b"a,b\n" + b"x" * (9 << 20) + b",1\n", "a row of more than 4 MB"),
        ("a.csv", b'a,b\n"' + b"x\n" * (5 << 20), "a row of more than 4 MB"),
        ("a.csv", b'"' + b"x\n" * (5 << 20), "a row of more than 4 MB"),
        ("a.csv", b"," * 20_001 + b"\n", "more than 20000 columns"),
        ("a.tsv", b"\t" * 20_001 + b"\n", "more than 20000 columns"),
        ("a.jsonl", b'{"a": "' + b"x" * (9 << 20), "a row of more than 4 MB"),
        ("a.jsonl", b'{"a":' * 9 + b"1" + b"}" * 9, "deeper than 8"),
        ("a.jsonl", b'{"}":' * 9 + b"1" + b"}" * 9, "deeper than 8"),
        ("a.jsonl", b"".join(b'{"k%d": 1}\n' % n for n in range(2001)), "more than 2000 keys"),
    ],
)
def test_what_no_table_looks_like_is_refused(
    tmp_path: Path, name: str, text: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(Refused, match=words), Clock(3):
        rows.check(tmp_path / name, name[2:])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", b'a,b\n"x\ny",1\n' * 500_000),
        ("a.csv", b"a,b\n" + b'"\n' * 4_000_000),
        ("a.csv", b"a,b\n1,2"),
        ("a.csv", b"a" * 1000),
        ("a.jsonl", b'{"a":1,"b":{"c":[1,"]]]{{{","\\"["]}}\n' * 50_000),
        ("a.jsonl", b'\n{"a":1}\n\n{"a":2}'),
        ("a.jsonl", b'{"code":"' + b'\\"k\\" ' * 500_000 + b'"}\n'),
        ("a.jsonl", b'{"a":1}\n"' + b"x" * 3_000_000),
    ],
)  # fmt: skip
def test_what_a_table_may_look_like_is_let_through(tmp_path: Path, name: str, text: bytes) -> None:
    (tmp_path / name).write_bytes(text)
    with Clock(5):
        rows.check(tmp_path / name, name[2:])


def test_one_mark_of_inches_in_a_field_holds_up_no_table(tmp_path: Path) -> None:
    for name, more in (("a", b""), ("b", b"9,new\n")):
        (tmp_path / name).write_bytes(b'id,x\n1,5" pipe\n' + b"2,plain\n" * 700_000 + more)
    change, notes = tables.compare(tmp_path / "a", tmp_path / "b", "a.csv")
    assert (change.added, change.removed, notes) == (1, 0, [])


def test_rows_that_a_few_bytes_declare_are_counted_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame({"a": [1] * 100_000}).write_parquet(tmp_path / "a")
    monkeypatch.setattr(tables, "_FREE_CELLS", 1000)
    change, notes = tables.compare(tmp_path / "a", tmp_path / "a", "a.parquet")
    assert change.rows == (100_000, 100_000)
    assert (change.added, notes) == (None, ["100,000 rows: only counted"])


def test_many_rows_are_compared_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame({"a": [1, 2, 3, 3, 4] * 100}).write_parquet(tmp_path / "a")
    pl.DataFrame({"a": [1, 2, 3, 5] * 100}).write_parquet(tmp_path / "b")
    whole = tables.compare(tmp_path / "a", tmp_path / "b", "a.parquet")
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 7)
    assert tables.compare(tmp_path / "a", tmp_path / "b", "a.parquet") == whole
    assert (whole[0].added, whole[0].removed) == (100, 200)


@pytest.mark.parametrize("table", ["[better]\n", "[tables]\n"])
def test_tables_of_globs_are_bounded(tmp_path: Path, table: str) -> None:
    value = '"lower"' if "better" in table else '["id"]'
    text = table + "".join(f"m{n} = {value}\n" for n in range(201))
    (tmp_path / "devml.toml").write_text(text)
    with pytest.raises(UsageError, match="more than 200 entries"):
        config.load(tmp_path)


# -- metrics, parameters, YAML -------------------------------------------------------------------


def libyaml_is_ruamels(text: str) -> bool:
    """Whether libyaml's events were enough; then they must have meant what ruamel says."""
    try:
        built = yamltext._Built("", 200).of(text)
    except (yamltext.Unsure, Refused):
        return False
    assert pointers.form(built) == pointers.form(yamltext.parser("safe").load(text)), text
    return True


@given(yaml_blocks())
def test_reading_of_yaml_by_libyaml_is_ruamels_or_none(lines: list[str]) -> None:
    libyaml_is_ruamels("\n".join(lines) + "\n")


ODD = [
    ".5", "0x1F", "0o17", "017", "1_000", "~", "Null", "Yes", "on", "2024-01-01", "12:30", "é", "-a",
    "'it''s'", '"q\\t\\u00e9"', "{a: 1, b: [x, y]}", "[a: b]", "{a}", "<<", "=", ".inf", ".nan", "+.5",
    "1e400", "1__0", "|\n  a\n  b", ">\n  a\n  b", '"a\n  b"', '{"a":1}', "{a:1}", "[a,]", "x\ty", "😀",
    "...", "&x a", "", "190:20:30", "2024-01-01 10:00:00", "9" * 1200, "\x85", "\ufeff", "\u2028",
]  # fmt: skip


def test_reading_of_each_value_by_libyaml_is_ruamels_or_none() -> None:
    answered = [w for w in (*WORDS, *ODD) if libyaml_is_ruamels(f"a: {w}\nb: 1\n")]
    assert {".5", "0x1F", "2024-01-01", "é", "{a: 1, b: [x, y]}", "|\n  a\n  b"} <= set(answered)


def test_yaml_of_a_megabyte_takes_a_moment_in_any_style() -> None:
    flow = "a: {" + ", ".join(f"k{n}: {n}.5" for n in range(50_000)) + "}\n"
    with Clock(4):  # ruamel: 12 and more
        assert len(measures.load("p.yaml", flow.encode())["a"]) == 50_000
    with pytest.raises(Refused, match="no valid YAML"):
        measures.load("p.yaml", b"a: x\ty\n" + b"k: v\n" * 60_000)  # ruamel alone might
    with pytest.raises(Refused, match="larger than"):
        yamltext.load("dvc.lock", "a: 1\n" * 1_000_000)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.json", b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", "nested deeper"),
        ("p.toml", b"a = " + b"[" * 300 + b"]" * 300, "nested deeper"),
        ("p.py", b"a = " + b"[" * 80 + b"]" * 80, "nested deeper"),
        ("p.yaml", b"a: &a [*a]\n", "what it stands in"),
        ("p.yaml", b"a: &a [1, 2]\n" + b"".join(
            b"%c: &%c [%s]\n" % (c + 1, c + 1, b",".join([b"*%c" % c] * 9)) for c in b"abcdefgh"
        ), "more than 500000 values"),
    ],
    ids=["json", "toml", "python", "endless", "laughs"],
)  # fmt: skip
def test_values_that_cannot_be_walked_over_are_refused(name: str, text: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words), Clock(4):
        measures.load(name, text)


class Files:
    """A commit's files, made up."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def ahead(self, paths: Any) -> None:
        pass

    def names(self) -> Any:
        return self.files

    def text(self, path: str) -> bytes | None:
        return self.files.get(path)


@pytest.mark.parametrize("what", ["_MOST_BYTES", "_MOST_VALUES"])
def test_files_of_one_commit_are_bounded_together(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(measuring, what, 100)
    files = {f"m/{n}.json": json.dumps(dict.fromkeys("abcdefgh", n)).encode() for n in range(50)}
    found = measuring.measure(Config(metrics=("m/*.json",), params=()), Files(files))
    assert 1 <= len(found.metrics) < 20
    assert "the rest is not read" in found.notes[0]


def test_texts_are_kept_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(measures, "_MOST_KEPT", 100)

    @measures.kept_by_text
    def length(name: str, text: bytes) -> int:
        read.append(name)
        return len(text)

    for name in ("a", "b", "a", "b", "c", "a"):
        length(name, b"x" * 40)
    assert read == ["a", "b", "c", "a"]


# -- models --------------------------------------------------------------------------------------


def test_file_that_is_cut_short_meanwhile_is_told_and_kills_nobody(tmp_path: Path) -> None:
    for n, name in enumerate("ab"):
        np.savez(tmp_path / name, x=np.full(3_000_000, float(n)), y=np.arange(9.0))
        os.rename(tmp_path / f"{name}.npz", tmp_path / name)
    one = models.read(tmp_path / "a", "m.npz")
    two = models.read(tmp_path / "b", "m.npz", steady=False)
    assert one is not None
    assert two is not None
    with one, two:
        change = tensors.compare(one, two)
        assert [t.name for t in change.tensors] == ["x"]
        assert change.tensors[0].numbers is not None
        assert change.tensors[0].numbers.max_abs == 1
        blocks = two.blocks("x", 4096)
        next(blocks)
        os.truncate(tmp_path / "b", 1 << 20)
        with pytest.raises(models.Unreadable, match="became shorter"):  # mapped: SIGBUS
            list(blocks)
        assert "became shorter" in tensors.compare(one, two).notes[0]


def test_packed_tensors_are_compared_and_summed_up_without_unpacking_them_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    old, new = np.arange(600_000, dtype="f4"), np.arange(600_000, dtype="f4")
    new[500_000] = 7
    for name, array in (("old", old), ("new", new)):
        np.savez_compressed(tmp_path / f"{name}.npz", x=array)
        with h5py.File(tmp_path / f"{name}.h5", "w") as f:
            f.create_dataset("x", data=array.reshape(600, 1000), chunks=(7, 1000), compression=1)
    monkeypatch.setattr("devml_git.models.archive.IN_MEMORY", 1000)
    monkeypatch.setattr("devml_git.models.hdf_file._IN_MEMORY", 1000)
    for ending in ("npz", "h5"):
        one, two = (models.read(tmp_path / f"{n}.{ending}", f"m.{ending}") for n in ("old", "new"))
        assert one is not None
        assert two is not None
        with one, two:
            (change,) = tensors.compare(one, two).tensors
            assert change.numbers is not None
            assert change.numbers.changed == 1 / 600_000
            assert np.concatenate(list(two.blocks("x", 4096))).tolist() == new.tolist()
            with pytest.raises(models.Unreadable):
                two.array("x")


def test_packed_tensor_that_is_damaged_is_a_note(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(100_000))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "b.npz").write_bytes(data)
    one, two = (models.read(tmp_path / n, "m.npz") for n in ("a.npz", "b.npz"))
    assert one is not None
    assert two is not None
    with one, two:
        assert "damaged" in tensors.compare(one, two).notes[0]


def test_file_that_says_it_holds_a_thousand_times_its_bytes_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from devml_git.summarising import summarise

    np.savez_compressed(tmp_path / "z.npz", zeros=np.zeros(1_000_000))
    assert summarise(tmp_path / "z.npz", "z.npz").is_model
    monkeypatch.setattr("devml_git.models.model._FREE_COST", 1000)
    (line,) = summarise(tmp_path / "z.npz", "z.npz").lines
    assert "it says that it holds 8.0 MB" in line


def test_chunks_across_the_rows_are_unpacked_once_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    values = np.arange(64_000, dtype="f4").reshape(64, 1000)
    with h5py.File(tmp_path / "m.h5", "w") as f:
        f.create_dataset("x", data=values, chunks=(64, 100), compression=1)
    monkeypatch.setattr("devml_git.models.hdf_file._SLAB", 1000)
    model = models.read(tmp_path / "m.h5", "m.h5")
    assert model is not None
    with model:
        assert np.array_equal(np.concatenate(list(model.blocks("x"))), values.reshape(-1))
        monkeypatch.setattr("devml_git.models.hdf_file._UNPACKED", 100_000)
        with pytest.raises(models.Unreadable, match="too slow to unpack"):
            next(model.blocks("x"))


def test_chunks_that_are_too_large_for_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    with h5py.File(tmp_path / "m.h5", "w") as f:
        f.create_dataset("x", (1000, 1000), "f4", chunks=(1000, 1000), compression=1)
    monkeypatch.setattr("devml_git.models.hdf_file._UNPACKED", 100_000)
    model = models.read(tmp_path / "m.h5", "m.h5")
    assert model is not None
    with model, pytest.raises(models.Unreadable, match="too large for memory"):
        next(model.blocks("x"))


def test_shards_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "s.npz", **{f"t{n}": np.zeros(1) for n in range(6)})
    index = tmp_path / "i.json"
    index.write_text(json.dumps({"weight_map": {"t0": "a", "t1": "b"}}))
    shards = {"a": tmp_path / "s.npz", "b": tmp_path / "s.npz"}
    models.read_sharded(index, shards).close()
    monkeypatch.setattr("devml_git.models.sharded.MAX_TENSORS", 10)
    with pytest.raises(models.Unreadable, match="more than 10 tensors"):
        models.read_sharded(index, shards)


# -- git diff ------------------------------------------------------------------------------------


def test_git_diff_counts_tensors_before_it_reads_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    np.savez(packed, **{f"t{n}": np.zeros(1) for n in range(12)})
    project.write("models/m.npz", packed.getvalue())
    project.commit("m")
    text, known = project.bytes("models/m.npz.dvc"), Known(project.path / ".git", project.path)
    monkeypatch.setattr("devml_git.inwords.MOST_TENSORS", 10)
    words = describe(text, known, is_lock=False).decode()
    assert "more than 10 tensors: devml-git diff" in words
    assert not known.whole
    monkeypatch.undo()
    assert "t11" in describe(text, known, is_lock=False).decode()


def test_words_that_take_too_long_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def forever(*_: object, **__: object) -> bytes:
        while True:
            pass

    (tmp_path / "x.dvc").write_bytes(b"a pointer\n")
    monkeypatch.setattr(textconv, "_SECONDS", 0.1)
    monkeypatch.setattr("devml_git.inwords.describe", forever)
    before = signal.getsignal(signal.SIGPROF)
    try:
        assert textconv.main([str(tmp_path / "x.dvc"), str(tmp_path)]) == 0
    finally:
        signal.signal(signal.SIGPROF, before)
    assert capfdbinary.readouterr().out == b"a pointer\n"


def test_store_of_somebody_elses_making_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devml_git.kept._SECONDS", 0.2)
    with sqlite3.connect(tmp_path / "kept.db") as db:
        db.executescript(
            "CREATE TABLE kept (key TEXT PRIMARY KEY, written REAL, data BLOB);"
            "CREATE TRIGGER t BEFORE INSERT ON kept BEGIN INSERT INTO kept WITH RECURSIVE c(x) AS "
            "(SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x, 1.0, x FROM c; END;"
            "PRAGMA user_version=2;"
        )
    db.close()
    with Clock(5):
        Kept(tmp_path).put("key", b"data")
        assert Kept(tmp_path).get("key") is None


def test_json_is_printed_piece_by_piece_as_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"a": [1, {"b": "x\x9b\u2028é"}, [], {}], "c": None}
    Output().document(value)
    whole = capsys.readouterr().out
    monkeypatch.setattr("devml_git.output._PIECES", 2)
    Output().document(value)
    assert capsys.readouterr().out == whole
    assert json.loads(whole) == value
    assert whole.isascii() is False
    assert not {"\x9b", "\u2028"} & set(whole)


# -- from Python ---------------------------------------------------------------------------------


def test_no_link_leads_out_of_the_repository(project: Project, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (project.path / "link").symlink_to(tmp_path / "secret")
    (project.path / "up").symlink_to(tmp_path)
    project.write("real", "here")
    (project.path / "inside").symlink_to("real")
    repo = devml_git.Repo(project.path)
    for name in ("link", "up/secret"):
        for read in (repo.open, repo.load):
            with pytest.raises(UsageError, match="leads out of the repository"):
                read(name)
    with repo.open("inside") as file:
        assert file.read() == b"here"
    for rev in (None, "HEAD"):
        with pytest.raises(UsageError, match="NUL"):
            repo.open("a\0b", rev)


def test_link_into_the_cache_is_followed(models: Project) -> None:
    place = models.path / "models/a.pt"
    place.unlink()
    place.symlink_to(models.object("models/a.pt.dvc"))
    with devml_git.Repo(models.path).open("models/a.pt") as file:
        assert file.read() == models.object("models/a.pt.dvc").read_bytes()


def test_index_names_files_beside_it_only(project: Project, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", t=np.zeros(1))
    names = {"a": "../s.npz", "b": str(tmp_path / "s.npz"), "c": "..", "d": "", "e": "pipe"}
    os.mkfifo(project.path / "pipe")
    project.write("m.safetensors.index.json", json.dumps({"weight_map": names}))
    found = devml_git.Repo(project.path).load("m.safetensors.index.json")
    assert not found.info
    assert len(found.notes) == 5


def test_small_tensor_of_a_large_packed_storage_unpacks_it_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = torch_zip(rebuilt((2,), (1,), offset=1, count=100_000), _0=bytes(400_000))
    with (
        zipfile.ZipFile(io.BytesIO(data)) as stored,
        zipfile.ZipFile(tmp_path / "m", "w") as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name), zipfile.ZIP_DEFLATED)
    monkeypatch.setattr("devml_git.models.archive.IN_MEMORY", 1000)
    model = models.read(tmp_path / "m", "m.pt")
    assert model is not None
    with model:
        assert model.array("tensor").tolist() == [0, 0]
    monkeypatch.setattr("devml_git.models.torch_file._FREE_SHARING", 1000)
    with pytest.raises(models.Unreadable, match="never end"):
        models.read(tmp_path / "m", "m.pt")
