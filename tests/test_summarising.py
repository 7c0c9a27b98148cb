"""What is said of content that is no model: headers of media, rows, columns, lines."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import h5py
import polars as pl
import pytest
from PIL import Image

from devml_git.summaries import Summaries, Summary
from devml_git.summarising import summarise


def written(tmp_path: Path, name: str) -> Path:
    place = tmp_path / name
    if name.endswith(".png"):
        Image.new("RGB", (10, 20)).save(place)
    elif name.endswith(".wav"):
        with wave.open(str(place), "wb") as w:
            w.setnchannels(2)
            w.setsampwidth(2)
            w.setframerate(8000)
            w.writeframes(b"\0\0" * 8000)
    elif name.endswith(".parquet"):
        pl.DataFrame({"id": [1, 2], "x\n": ["a", None]}).write_parquet(place)
    elif name.endswith(".h5"):
        with h5py.File(place, "w") as f:
            f["w"] = [1.0]
    else:
        place.write_text("a,b\n1,2\n3,4")
    return place


SAID = {
    "i.png": ("image", ("PNG 10x20 RGB",)),
    "s.wav": ("audio", ("0.50 s, 8000 Hz, 2 channels",)),
    "t.parquet": ("parquet", ("rows: 2", "column id Int64", "column x\\n String")),
    "t.csv": ("table", ("lines: 3", "column a", "column b")),
    "t.txt": ("text", ("lines: 3",)),
}


@pytest.mark.parametrize("name", SAID)
def test_file_is_told_by_its_header(tmp_path: Path, name: str) -> None:
    form, lines = SAID[name]
    assert summarise(written(tmp_path, name), name) == Summary(form, (), lines)


@pytest.mark.parametrize(
    ("name", "library", "hint"),
    [
        ("i.png", "PIL", "pip install 'devml-git[media]'"),
        ("s.wav", "tinytag", "pip install 'devml-git[media]'"),
        ("t.parquet", "polars", "pip install 'devml-git[tables]'"),
        ("m.h5", "h5py", "pip install 'devml-git[hdf5]'"),
    ],
)
def test_extra_that_is_missing_is_named_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, hint: str
) -> None:
    place = written(tmp_path, name)
    monkeypatch.setitem(sys.modules, library, None)
    found = summarise(place, name)
    assert hint in found.lines[0]
    store = Summaries(tmp_path)
    store.put("oid", "md5", name, found)
    assert store.get("oid", "md5", name) is None
    monkeypatch.undo()
    store.put("oid", "md5", name, summarise(place, name))
    kept = store.get("oid", "md5", name)
    assert kept is not None
    assert hint not in "".join(kept.lines)


@pytest.mark.parametrize("name", ["i.png", "s.mp3", "t.parquet"])
def test_damaged_file_is_told_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nonsense\x1b[2J")
    (line,) = summarise(tmp_path / name, name).lines
    assert "read" in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("t.csv", ("large: its lines are not counted", "column a", "column b")),
        ("t.txt", ("large: its lines are not counted",)),
        ("i.png", ()),
    ],
)
def test_large_file_is_not_read_to_its_end(
    tmp_path: Path, name: str, lines: tuple[str, ...]
) -> None:
    found = summarise(written(tmp_path, name), name, most=10)
    assert (found.lines, found.whole) == (lines, False)
