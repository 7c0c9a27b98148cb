"""Models, tables and notebooks whose content would run, expand, or is not what it was."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

from tests.hostile.builder import Hostile, template
from tests.hostile.course import DEVML

# Two files with one MD5 (Wang, Yu 2004)
_GOOD = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
_FLIPS = {19: 0x80, 45: 0x80, 59: 0x80, 83: 0x80, 109: 0x80, 123: 0x80}
_EVIL = bytes(byte ^ _FLIPS.get(n, 0) for n, byte in enumerate(_GOOD))
assert hashlib.md5(_GOOD).digest() == hashlib.md5(_EVIL).digest()


class _Runs:
    """Unpickled, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self.command,)


def _each(it: Hostile, files: dict[str, bytes]) -> None:
    """Two versions of each file as models, so that `diff`, `show` and `blame` look inside."""
    for name, data in files.items():
        it.artifact(f"models/{name}", data)
    it.commit("before")
    for name, data in files.items():
        exact = name.endswith((".safetensors", ".npy"))  # a byte more, and nothing of it is read
        it.artifact(f"models/{name}", data[:-1] + bytes([data[-1] ^ 1]) if exact else data + b"\n")
    it.commit("after")


def _zip(members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", kind) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return raw.getvalue()


@template("show fetch-before diff-inside git-diff")
def pickles(it: Hostile) -> None:
    evil = pickle.dumps(_Runs(it.command("pickle")))
    protocol0 = pickle.dumps(_Runs(it.command("pickle0")), protocol=0)
    npy = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(127)
        + b"\n"
        + evil
    )
    _each(it, {
        "a.pkl": evil, "b.pkl": protocol0, "c.joblib": evil, "d.pickle": evil, "e.pt": evil, "a.npy": npy,
        "f.pt": _zip({"archive/data.pkl": evil, "archive/version": b"3"}), "g.npz": _zip({"x.npy": npy}),
        "h.keras": _zip({"config.json": json.dumps({"class_name": "Lambda", "config": {"function": ["x"]}}).encode(),
                         "metadata.json": b"{}"}),
        "i.bin": evil, "j.ckpt": evil, "k.pth": _zip({"x/data.pkl": evil, "x/data/0": b"1234"}),
    })  # fmt: skip


@template("show fetch-before diff-inside")
def zip_bombs(it: Hostile) -> None:
    zeros = bytes(200 << 20)
    bomb = _zip({"x.npy": zeros}, zipfile.ZIP_DEFLATED)
    header = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (26214400,), }".ljust(
            127
        )
        + b"\n"
    )
    _each(it, {
        "a.npz": _zip({"x.npy": header + zeros}, zipfile.ZIP_DEFLATED), "b.pt": bomb,
        "c.npz": _zip({f"x{n}.npy": b"" for n in range(60_000)}),
        "d.pt": _zip({"../../evil.npy": b"x", "/abs.npy": b"x", "archive/data.pkl": b"\x80\x02" + b"(" * 300_000}),
    })  # fmt: skip


@template("show fetch-before diff-inside")
def headers_that_lie(it: Hostile) -> None:
    many = json.dumps(
        {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(300_000)}
    )
    far = json.dumps(
        {"t": {"dtype": "F32", "shape": [1 << 60, 1 << 60], "data_offsets": [0, 1 << 62]}}
    )
    _each(it, {
        "a.safetensors": struct.pack("<Q", len(many)) + many.encode(),
        "b.safetensors": struct.pack("<Q", 1 << 62) + b"{}",
        "c.safetensors": struct.pack("<Q", len(far)) + far.encode(),
        "d.safetensors": struct.pack("<Q", 200_000) + b'{"a":' * 40_000,
        "e.gguf": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
        "f.onnx": b"\x0a" * 100_000, "g.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        "h.h5": b"\x89HDF\r\n\x1a\n" + b"\xff" * 4000, "i.pt": b"PK\x05\x06" + b"\xff" * 18,
    })  # fmt: skip


@template("diff show", arrival="pull")
def params_in_python(it: Hostile) -> None:
    it.write("devml.toml", 'params = ["params.py"]\nmetrics = ["metrics.py"]\n')
    for name in ("params.py", "metrics.py"):
        it.program(name, python=True)
        it.append(name, f"import os\nLR = 1\nos.system({it.command('params')!r})\nX = {'(' * 90 + ')' * 90}\n"
                        f"Y = {'-' * 4000}1\n")  # fmt: skip
    it.commit()
    it.write("params.py", "LR = " + "+".join(["1"] * 30_000) + "\n")
    it.commit()


@template("fetch-before diff-inside show")
def tables(it: Hostile) -> None:
    rows = "a,b\n" + "\"=cmd|' /C x'!A0\",2\n" * 10
    _each(it, {
        "a.csv": rows.encode(), "b.csv": b"," * 300_000 + b"\n", "c.csv": b'"' + b"x\n" * 400_000,
        "d.jsonl": b'{"a":' * 100_000, "e.parquet": b"PAR1" + b"\xff" * 1000 + b"\xff\xff\xff\x7fPAR1",
        "f.csv": b"a\n" + b"\x1b[31m\n" * 9, "g.tsv": b"\x1b]8;;http://x\x07\tb\n1\t2\n",
        "h.csv": b"a\n" + bytes(range(256)) * 99,
    })  # fmt: skip


@template("fetch-before diff-inside git-diff", arrival="pull")
def notebooks(it: Hostile) -> None:
    for n in (1, 2):
        cell = {"cell_type": "code", "metadata": {}, "source": [f"!{it.command('nb')}\x1b[2J{n}"],
                "outputs": [{"data": {"text/html": ["<script>x</script>"]}, "output_type": "display_data"}]}  # fmt: skip
        it.write("n.ipynb", json.dumps({"cells": [cell] * 50, "nbformat": 4, "metadata": {}}))
        it.write("m.ipynb", '{"cells":' + "[" * 50_000)
        it.artifact("models/n.ipynb", json.dumps({"cells": [cell], "nbformat": 4}))
        it.commit()


@template("fetch-before diff-inside show")
def images(it: Hostile) -> None:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0" + bytes(40)
    eps = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n("
        + it.command("eps").encode()
        + b") run\n"
    )
    svg = (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>'
    )
    _each(it, {
        "a.png": png, "b.eps": eps, "b.png": eps, "c.svg": svg, "c.png": svg, "d.jpg": b"\xff\xd8\xff\xe1\xff\xff",
        "e.gif": b"GIF89a\xff\xff\xff\xff" + b"!" * 9000, "f.wav": b"RIFF\xff\xff\xff\xffWAVELIST\0\0\0\0" * 9,
        "g.tif": b"II*\0\x08\0\0\0\xff\xff" + bytes(9000), "h.mp3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(900),
    })  # fmt: skip


@template("checkout verify", visit="own")
def twins_swapped(it: Hostile) -> None:
    """Committed by devml-git as the good twin; the remote now gives the evil one."""
    it.world.run(DEVML, "init", cwd=it.path)
    it.write("models/t.pt", _GOOD)
    it.world.run(DEVML, "commit", "-qm", "the good twin", cwd=it.path)
    assert (it.path / "models/t.pt.dvc").exists()
    it.git("config", "core.hooksPath", "/dev/null")
    it.put(_EVIL)
    it.checks.append(lambda place: _is_evil(place / "models/t.pt"))


@template("status verify git-checkout", visit="own")
def twin_in_git(it: Hostile) -> None:
    """The evil twin, in git, in the place of the artifact whose pointer names the good one."""
    it.artifact("models/t.pt", _GOOD)
    it.honest()
    it.write("models/.gitignore", "")
    it.write("models/t.pt", _EVIL)
    it.commit()


@template("fetch checkout verify")
def wrong_bytes_in_the_remote(it: Hostile) -> None:
    oid = it.put("right\n")
    it.put(b"HOSTILE-PAYLOAD", oid)
    it.pointer("x", oid, 6)
    it.checks.append(lambda place: _holds(place / "x", b"HOSTILE"))
    it.commit()


@template("show fetch checkout")
def object_is_huge(it: Hostile) -> None:
    """The pointer says six bytes; the remote has a sparse file of eight gigabytes."""
    oid = it.put("small\n")
    file = it.world.remote / "files/md5" / oid[:2] / oid[2:]
    with file.open("wb") as raw:
        raw.truncate(8 << 30)
    it.pointer("x", oid, 6)
    it.commit()


@template("show fetch")
def object_is_a_link(it: Hostile) -> None:
    """In the stranger's directory remote, which may lie on a shared disk."""
    oid = it.put("right\n")
    file = it.world.remote / "files/md5" / oid[:2] / oid[2:]
    file.unlink()
    file.symlink_to(it.world.home / "notes.txt")
    it.pointer("x", oid, 6)
    it.commit()


@template("log show", visit="plain")
def secrets_in_settings(it: Hostile) -> None:
    """A password that somebody committed is not shown; here it stands in a url and an option."""
    word = base64.b64encode(b"somebody's password").decode().rstrip("=")
    it.remote(f"password = {word}", url=f"webdav://u:{word}@127.0.0.1:9/x")
    it.world.hidden.append(word)
    it.commit()


@template("status", arrival="squash")
def password_to_pass_on(it: Hostile) -> None:
    """A password that somebody committed is not committed again, as the victim's own line."""
    word = base64.b64encode(b"a stranger's password").decode().rstrip("=")
    it.remote(f"password = {word}")
    it.world.hidden.append(word)
    it.commit()
    it.checks.append(lambda place: _own_commits(it, place, word))


@template("doctor status")
def settings_for_everybody(it: Hostile) -> None:
    """Committed private settings, 0644; a `.gitignore` that no longer keeps new ones out."""
    it.write(".dvc/.gitignore", "!/config.local\n")
    it.write(".dvc/config.local", "[core]\n    remote = storage\n")
    it.commit("with them")
    it.remove(".dvc/config.local")
    it.commit("and without")


def _own_commits(it: Hostile, place: Path, word: str) -> str:
    """Return which commits of the victim's brought a word."""
    own = it.world.run("git", "log", "--all", "-S", word, "--format=%s", "--not",
                       "--remotes", cwd=place, check=False)  # fmt: skip
    return f"the victim committed the password: {own}" if own.strip() else ""


def _is_evil(file: Path) -> str:
    return "the twin came in the place of the good file" if _holds(file, _EVIL) else ""


def _holds(file: Path, data: bytes) -> str:
    return f"{file.name} has wrong bytes" if file.is_file() and data in file.read_bytes() else ""
