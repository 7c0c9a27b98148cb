"""Model files that lie, that are cut off, that would run code: clear words, in bounded time."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from devml_git import models
from tests.models.test_real_files import COMMITTED


def read(tmp_path: Path, data: bytes, name: str = "model") -> models.Model | None:
    path = tmp_path / "file"
    path.write_bytes(data)
    return models.read(path, name)


def refused(tmp_path: Path, data: bytes, words: str, name: str = "model") -> None:
    """Hold that a file is refused with these words, and soon."""
    path = tmp_path / "file"
    path.write_bytes(data)
    began = time.monotonic()
    with pytest.raises(models.Unreadable, match=words) as e:
        models.read(path, name)
    assert time.monotonic() - began < 20
    assert name in e.value.message
    assert e.value.hint


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(
    start: int = 0, end: int = 4, shape: object = (1,), dtype: object = "F32"
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


# -- any file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["pt", "safetensors", "npy", "onnx", "gguf", "keras", "pkl"])
def test_empty_file_named_like_a_model_is_refused(tmp_path: Path, ending: str) -> None:
    refused(tmp_path, b"", "empty", f"m.{ending}")


def test_text_named_like_a_model_is_refused_and_otherwise_unknown(tmp_path: Path) -> None:
    refused(tmp_path, b"hello, world\n" * 10, "it is no safetensors file", "m.safetensors")
    assert read(tmp_path, b"hello, world\n" * 10, "m.txt") is None
    assert read(tmp_path, b"hello, world\n" * 10, "m.bin") is None
    assert read(tmp_path, b"", "m.bin") is None


@pytest.mark.parametrize(
    "name",
    ["plain.safetensors", "state.pt", "stored.npz", "quantised.gguf", "line-4.pkl", "sets.h5"],
)
def test_magic_decides_where_the_ending_lies(name: str) -> None:
    honest, lying = models.read(COMMITTED / name, name), models.read(COMMITTED / name, "m.onnx")
    assert honest is not None
    assert lying is not None
    with honest, lying:
        assert (lying.format, dict(lying.tensors)) == (honest.format, dict(honest.tensors))


def test_named_pipe_and_directory_are_refused_and_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", ".", "loop", "absent", "/dev/zero"):
        with pytest.raises(models.Unreadable):
            models.read(tmp_path / name, "m.pt")


def test_link_to_a_regular_file_is_followed_as_dvc_links_to_its_cache(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(COMMITTED / "rows.npy")
    model = models.read(tmp_path / "link", "m.npy")
    assert model is not None
    assert model.tensors["array"].shape == (3, 4)


def test_file_that_became_shorter_is_refused_and_not_looked_at(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros(100_000))
    model = models.read(tmp_path / "m.npy", "m.npy")
    assert model is not None
    os.truncate(tmp_path / "m.npy", 4096)
    with pytest.raises(models.Unreadable, match="shorter"):
        model.array("array")


@pytest.mark.parametrize(
    "name",
    sorted(f.name for f in COMMITTED.iterdir() if f.suffix not in {".json", ".h5", ".keras"}),
)
def test_file_cut_off_anywhere_is_a_result_or_unreadable(name: str, tmp_path: Path) -> None:
    data = (COMMITTED / name).read_bytes()
    for length in {*range(0, len(data), max(1, len(data) // 60)), *range(20), len(data) - 1}:
        try:
            model = read(tmp_path, data[:length], name)
            for found in model.tensors if model is not None else ():
                model.array(found)
        except models.Unreadable as e:
            assert e.message.isprintable()


def test_large_file_is_opened_without_being_read(tmp_path: Path) -> None:
    size = 20 << 30
    header = safetensors({"a": tensor(0, size, (size // 4,)), "b": tensor(size, size + 4)})
    with (tmp_path / "m").open("wb") as f:
        f.write(header)
        f.truncate(len(header) + size + 4)  # a hole: 20 GB that take no place
    began = time.monotonic()
    model = models.read(tmp_path / "m", "m.safetensors")
    assert model is not None
    with model:
        assert model.array("a")[-1] == 0
        assert next(model.blocks("a")).nbytes == 16 << 20
    assert time.monotonic() - began < 1


# -- safetensors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack("<Q", 200_000_000) + b"{" + bytes(50), "100 MB"),
        (struct.pack("<Q", 90_000_000) + b"{" + bytes(50), "ends too early"),
        (safetensors(b"{]"), "no JSON"),
        (safetensors(b"{" + b'"a":[' * 50_000), "no JSON"),
        (safetensors(b'{"a": ' + b"9" * 10_000 + b"}"), "no JSON"),
        (safetensors(b'{"a":{},"a":{}}'), "twice"),
        (safetensors(b'{"\xff":{}}'), "no JSON"),
        (safetensors({"a": 3}), "no dtype"),
        (safetensors({"a": tensor(dtype="F33")}, bytes(4)), "type that is not known"),
        (safetensors({"a": tensor(dtype=["F32"])}, bytes(4)), "type that is not known"),
        (safetensors({"a": tensor(shape=[-1])}, bytes(4)), "no shape"),
        (safetensors({"a": tensor(shape=[True])}, bytes(4)), "no shape"),
        (safetensors({"a": tensor(shape=[1.0])}, bytes(4)), "no shape"),
        (safetensors({"a": tensor(shape=[1 << 40, 1 << 40])}, bytes(4)), "no shape"),
        (safetensors({"a": tensor(shape=[1] * 100)}, bytes(4)), "no shape"),
        (safetensors({"a": tensor(shape=[2])}, bytes(4)), "needs 8 bytes"),
        (safetensors({"a": tensor(4, 0)}, bytes(4)), "needs 4 bytes"),
        (safetensors({"a": tensor(-4, 0)}, bytes(4)), "needs 4 bytes"),
        (safetensors({"a": tensor(), "b": tensor()}, bytes(4)), "overlaps"),
        (safetensors({"a": tensor(), "b": tensor(8, 12)}, bytes(12)), "hole"),
        (safetensors({"a": tensor()}, bytes(3)), "1 byte too short"),
        (safetensors({"a": tensor()}, bytes(5)), "1 byte too long"),
        (safetensors({"a" * 5000: tensor()}, bytes(4)), "more than 4096 characters"),
        (safetensors({"__metadata__": {"a": 1}}), "__metadata__"),
        (safetensors(b"{" + b"[]," * 2_000_000), "more than"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_hostile_safetensors(tmp_path: Path, data: bytes, words: str) -> None:
    refused(tmp_path, data, words, "m.safetensors")


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    many = {str(i): tensor(0, 0, (0,)) for i in range(12)}
    few = {str(i): tensor(0, 0, (0,)) for i in range(9)}
    npys = {f"{i}.npy": npy(described(), bytes(4)) for i in range(12)}
    for name, data in {
        "many.safetensors": safetensors(many), "m.npz": archive(npys), "m.gguf": gguf(tensors=12),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(models.TooMany, match="more than 10 tensors"):
            models.read(tmp_path / name, name, most=10)
    (tmp_path / "few").write_bytes(safetensors(few))
    model = models.read(tmp_path / "few", "few", most=10)
    assert model is not None
    assert len(model.tensors) == 9


def test_graph_of_too_many_parts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devml_git.models.protobuf._MAX_NUMBERS", 1000)
    refused(tmp_path, field(1, 8) + field(7, b"\x60\x00" * 1000), "damaged", "m.onnx")


def test_names_that_utf8_cannot_hold_are_escaped(tmp_path: Path) -> None:
    model = read(
        tmp_path, safetensors(rb'{"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}')
    )
    assert model is not None
    assert list(model.tensors) == [r"\ud800"]


def test_packed_types_are_listed_by_their_bytes(tmp_path: Path) -> None:
    header = {
        "a": tensor(0, 3, (4,), "F6_E2M3"),
        "b": tensor(3, 5, (4,), "F4"),
        "c": tensor(5, 6, (1,), "F8_E8M0"),
    }
    model = read(tmp_path, safetensors(header, bytes(range(6))))
    assert model is not None
    assert [t.dtype for t in model.tensors.values()] == [
        "float6_e2m3fn",
        "float4_e2m1fn",
        "float8_e8m0fnu",
    ]
    assert [model.raw(n).tolist() for n in "abc"] == [[0, 1, 2], [3, 4], [5]]
    assert model.array("b").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"[]", "no weight_map"),
        (b"{", "no JSON"),
        (b'{"weight_map": {"a": 3}}', "no weight_map"),
        (b"[" * 100_000, "no JSON"),
        (b'{"weight_map": {"z": "s.safetensors"}}', "not in the shard"),
        (json.dumps({"weight_map": {str(i): str(i) for i in range(501)}}).encode(), "500 shards"),
    ],
)
def test_hostile_index(tmp_path: Path, index: bytes, words: str) -> None:
    (tmp_path / "i.json").write_bytes(index)
    (tmp_path / "s.safetensors").write_bytes(safetensors({"a": tensor()}, bytes(4)))
    with pytest.raises(models.Unreadable, match=words):
        models.read_sharded(tmp_path / "i.json", {"s.safetensors": tmp_path / "s.safetensors"})


# -- NumPy ---------------------------------------------------------------------------------------


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes((version, 0)) + length + text + data


def described(descr: str = "'<f4'", order: str = "False", shape: str = "(1,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy(described(), bytes(3)), "should have 4 bytes, and has 3"),
        (npy(described(shape="(-1,)"), bytes(4)), "not one of npy data"),
        (npy(described(shape="(99999999999, 99999999999)"), bytes(4)), "no shape"),
        (npy(described(shape="4"), bytes(4)), "no shape"),
        (npy(described("'<q9'"), bytes(4)), "not known"),
        (npy(described("'V0'"), bytes(4)), "no bytes"),
        (npy(described("[('a', '<f4', (3,)), 7]"), bytes(4)), "field"),
        (npy(described("[('a', " * 20 + "'<f4'" + ")]" * 20), bytes(4)), "nested too deeply"),
        (npy("{}"), "not one of npy data"),
        (npy("__import__('os').system('true')"), "not one of npy data"),
        (npy("(" * 60_000), "not one of npy data"),
        (npy(" " * 60_000 + "x"), "not one of npy data"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "claims 4,294,967,295 bytes"),
        (b"\x93NUMPY\x09\x00", "version 9"),
        (b"\x93NUMPY\x01\x00\xff\x00", "ends within its header"),
    ],
)
def test_hostile_npy(tmp_path: Path, data: bytes, words: str) -> None:
    refused(tmp_path, data, words, "m.npy")


# -- archives ------------------------------------------------------------------------------------


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members.items():
            z.writestr(name, data)
    return out.getvalue()


def test_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    data = archive(
        {"a.npy": npy(described(shape="(100000,)"), bytes(400_000))}, zipfile.ZIP_DEFLATED
    )
    size = struct.pack("<I", 400_000 + len(npy(described(shape="(100000,)"))))
    assert data.count(size) == 2
    refused(tmp_path, data.replace(size, b"\xfe\xff\xff\xff"), "lies about its size", "m.npz")
    model = read(tmp_path, data.replace(size, struct.pack("<I", 400_200)), "m.npz")
    assert model is not None
    with pytest.raises(models.Unreadable, match="damaged"):
        model.array("a")


def test_zip_bomb_is_listed_and_not_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devml_git.models.archive.IN_MEMORY", 1 << 20)
    head = npy(described(shape="(1000000,)"))
    packer = zlib.compressobj(9, wbits=-15)
    packed = (
        packer.compress(head)
        + b"".join(packer.compress(bytes(1 << 20)) for _ in range(4))
        + packer.flush()
    )
    size = len(head) + (4 << 20)
    local = (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), size, 5, 0) + b"a.npy"
    )
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(packed), size, 5, 0, 0, 0, 0, 0, 0
    )
    start = len(local) + len(packed)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry) + 5, start, 0)
    model = read(tmp_path, local + packed + entry + b"a.npy" + end, "m.npz")
    assert model is not None
    assert model.tensors["a"].nbytes == 4_000_000
    with pytest.raises(models.Unreadable, match="are read"):
        model.array("a")


def test_hostile_archives(tmp_path: Path) -> None:
    whole = archive({"a.npy": npy(described(), bytes(4)), "b.npy": npy(described(), bytes(4))})
    refused(tmp_path, whole[:-30], "without its end", "m.npz")
    refused(tmp_path, whole.replace(b"b.npy", b"a.npy"), "twice", "m.npz")
    at = whole.rindex(b"PK\1\2")
    moved = whole[: at + 42] + bytes(4) + whole[at + 46 :]
    refused(tmp_path, moved, "out of its place", "m.npz")  # two members in the same bytes
    crypt = whole.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0")
    refused(tmp_path, crypt, "encrypted", "m.npz")
    many = b"PK\3\4" + bytes(30) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 0xFFFFFFFE, 0, 0)
    refused(tmp_path, many, "more than 100,000 tensors", "m.npz")


# -- pickles -------------------------------------------------------------------------------------


class Canary:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def torch_zip(description: bytes, **members: bytes) -> bytes:
    return archive({"m/data.pkl": description} | {f"m/data/{n[1:]}": d for n, d in members.items()})


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_that_would_run_code_is_listed_and_runs_nothing(
    tmp_path: Path, protocol: int
) -> None:
    canary = tmp_path / "canary"
    data = pickle.dumps({"w": np.arange(3), "x": Canary(canary)}, protocol)
    model = read(tmp_path, data, "m.pkl")
    assert model is not None
    assert "posix.system" in model.metadata["classes"]
    assert model.array("w").tolist() == [0, 1, 2]
    inside = read(tmp_path, torch_zip(data), "m.pt")
    assert inside is not None
    assert "posix.system" in inside.metadata["classes"]
    assert "posix.system" in inside.notes[0]
    packed = read(tmp_path, zlib.compress(data), "m.joblib")
    assert packed is not None
    assert "posix.system" in packed.metadata["classes"]
    assert not canary.exists()


def memo_bomb(levels: int = 60) -> bytes:
    """Lists of two times the list before."""
    return (
        b"\x80\x04]"
        + b"".join(b"\x94(h" + bytes((n,)) + b"h" + bytes((n,)) + b"l" for n in range(levels))
        + b"."
    )


def deep(opcodes: bytes, count: int, after: bytes) -> bytes:
    return b"\x80\x04" + opcodes * count + after * count + b"."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x04]\x94h\x00a.", "contains itself"),
        (b"\x80\x04}\x94X\x01\0\0\0ah\x00s.", "contains itself"),
        (b"\x80\x04\x85.", "takes more than it has"),
        (b"\x80\x04.", "no pickle goes on"),
        (b"\x80\x04a.", "takes more than it has"),
        (b"\x80\x04h\x05.", "no pickle goes on"),
        (b"\x80\x04\xff.", "no pickle goes on"),
        (b"\x80\x04t.", "no pickle goes on"),
        (b"\x80\x04(000t.", "no pickle goes on"),
        (b"\x80\x04X\xff\xff\xff\x7fa.", "truncated"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "truncated"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f.", "hundreds of digits"),
        (b"\x80\x04p99999999999999999999\n.", "memo"),
        (b"\x80\x04K\x01p99999999999999999999\n.", "memo"),
        (b"\x80\x04I" + b"9" * 5000 + b"\n.", "hundreds of digits"),
        (b"\x80\x04K\x01K\x02\x93.", "no text"),
        (b"\x80\x04" + b"]" * 1000, "no pickle goes on"),
    ],
)
def test_hostile_pickle(tmp_path: Path, data: bytes, words: str) -> None:
    refused(tmp_path, data, words, "m.pkl")
    refused(tmp_path, torch_zip(data), words, "m.pt")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (memo_bomb(), "nested without end"),
        (deep(b"]", 100_000, b"a")[:-2] + b".", "nested without end"),
        (b"\x80\x04)" + b"\x85" * 200_000 + b".", "nested without end"),
        (b"\x80\x04" + b"N0" * 2_000_001 + b"N.", "steps"),
    ],
    ids=["memo bomb", "deep lists", "deep tuples", "many steps"],
)
def test_endless_pickle_is_a_note_and_ends(
    tmp_path: Path, data: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devml_git.models.pickled._MAX_NODES", 50_000)
    began = time.monotonic()
    model = read(tmp_path, data, "m.pkl")
    assert model is not None
    assert words in model.notes[0]
    with pytest.raises(models.Unreadable, match=words):
        read(tmp_path, torch_zip(data), "m.pt")
    assert time.monotonic() - began < 30


def test_compressed_bomb_is_not_decompressed_to_its_end(tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    data = packer.compress(b"\x80\x04") + b"".join(
        packer.compress(bytes(1 << 20)) for _ in range(300)
    )
    model = read(tmp_path, data + packer.flush(), "m.joblib")
    assert model is not None
    assert "more than 256 MB" in model.notes[0]
    refused(tmp_path, zlib.compress(pickle.dumps([1] * 10_000))[:-9], "ends too early", "m.joblib")


# -- torch ---------------------------------------------------------------------------------------


def rebuilt(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    offset: int = 0,
    count: int = 4,
    key: str = "0",
) -> bytes:
    """Return torch's pickle of one tensor of float32."""

    def number(n: int) -> bytes:
        return b"\x8a\x09" + n.to_bytes(9, "little", signed=True)

    def numbers(many: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(number(n) for n in many) + b"t"

    def text(s: str) -> bytes:
        return b"X" + struct.pack("<I", len(s)) + s.encode()

    storage = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text(key)
        + text("cpu")
        + number(count)
        + b"tQ"
    )
    call = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + number(offset)
        + numbers(shape)
        + numbers(strides)
    )
    return b"\x80\x02" + call + b"\x89NtR."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (rebuilt((5,), (1,)), "beyond its storage"),
        (rebuilt((4,), (1,), offset=1), "beyond its storage"),
        (rebuilt((2, 2), (3, 1)), "beyond its storage"),
        (rebuilt((2,), (1, 1)), "beyond its storage"),
        (rebuilt((-1,), (1,)), "no shape"),
        (rebuilt((1,), (-1,)), "no shape"),
        (rebuilt((4,), (1,), offset=-1), "no shape"),
        (rebuilt((1 << 62,), (1,)), "no shape"),
        (rebuilt((4,), (1,), count=5), "shorter than it should be"),
        (rebuilt((4,), (1,), key="../../1"), "not in the archive"),
    ],
)
def test_hostile_torch_file(tmp_path: Path, data: bytes, words: str) -> None:
    refused(tmp_path, torch_zip(data, _0=bytes(16)), words, "m.pt")


def test_tensor_that_repeats_numbers_without_end_is_a_note(tmp_path: Path) -> None:
    model = read(tmp_path, torch_zip(rebuilt((1 << 30, 1 << 20), (0, 0)), _0=bytes(16)), "m.pt")
    assert model is not None
    assert not model.tensors
    assert "without end" in model.notes[0]


def test_tensor_that_is_conjugated_when_it_is_loaded_is_a_note(tmp_path: Path) -> None:
    pairs = b"}X\x04\0\0\0conj\x88s"
    data = rebuilt((4,), (1,)).replace(b"\x89NtR.", b"\x89N" + pairs + b"tR.")
    model = read(tmp_path, torch_zip(data, _0=bytes(16)), "m.pt")
    assert model is not None
    assert not model.tensors
    assert "before they are conjugated" in model.notes[0]


def test_big_endian_torch_file_is_refused(tmp_path: Path) -> None:
    data = archive(
        {"m/data.pkl": rebuilt((4,), (1,)), "m/data/0": bytes(16), "m/byteorder": b"big"}
    )
    refused(tmp_path, data, "big-endian", "m.pt")


def test_torch_file_that_was_compressed_again_is_read(tmp_path: Path) -> None:
    numbers = np.arange(4, dtype="f4")
    data = archive(
        {"m/data.pkl": rebuilt((2, 2), (1, 2)), "m/data/0": numbers.tobytes()}, zipfile.ZIP_DEFLATED
    )
    model = read(tmp_path, data, "m.pt")
    assert model is not None
    assert model.array("tensor").tolist() == [[0, 2], [1, 3]]


# -- GGUF and ONNX -------------------------------------------------------------------------------


def gguf(*, version: int = 3, tensors: int = 0, pairs: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def gguf_tensor(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    head = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape))
    return head + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gguf(version=1), "version 1"),
        (b"GGUF\0\0\0\3" + bytes(16), "big-endian"),
        (gguf(tensors=1 << 40), "claims"),
        (gguf(tensors=99_000), "truncated"),
        (gguf(pairs=1, rest=struct.pack("<Q", 1 << 40)), "text of"),
        (gguf(pairs=1, rest=struct.pack("<Q1sIIQ", 1, b"a", 9, 4, 1 << 60)), "arrays of more than"),
        (gguf(pairs=1, rest=struct.pack("<Q1sIIQ", 1, b"a", 9, 4, 1 << 20)), "truncated"),
        (gguf(pairs=1, rest=struct.pack("<Q1sI", 1, b"a", 9) + struct.pack("<IQ", 9, 1) * 9), "unknown type 9"),
        (gguf(pairs=1, rest=struct.pack("<Q1sI", 1, b"a", 77)), "unknown type 77"),
        (gguf(tensors=1, rest=gguf_tensor(b"a", (1,), 99, 0)), "unknown type 99"),
        (gguf(tensors=1, rest=gguf_tensor(b"a", (1,) * 9, 0, 0)), "9 dimensions"),
        (gguf(tensors=1, rest=gguf_tensor(b"a", (1 << 62, 8), 0, 0)), "no shape"),
        (gguf(tensors=1, rest=gguf_tensor(b"a", (31,), 2, 0) + bytes(99)), "no whole blocks"),
        (gguf(tensors=1, rest=gguf_tensor(b"a", (4,), 0, 0)), "beyond the end"),
        (gguf(tensors=1, rest=gguf_tensor(b"a", (1,), 0, 4) + bytes(99)), "not aligned"),
        (gguf(tensors=2, rest=gguf_tensor(b"a", (1,), 0, 0) + gguf_tensor(b"b", (1,), 0, 0) + bytes(99)), "overlaps"),
        (gguf(tensors=2, rest=gguf_tensor(b"a", (1,), 0, 0) + gguf_tensor(b"a", (1,), 0, 32) + bytes(99)), "two tensors"),
    ],
)  # fmt: skip
def test_hostile_gguf(tmp_path: Path, data: bytes, words: str) -> None:
    refused(tmp_path, data, words, "m.gguf")


def field(number: int, content: bytes | int) -> bytes:
    def varint(n: int) -> bytes:
        out = b""
        while n > 0x7F:
            out, n = out + bytes((n & 0x7F | 0x80,)), n >> 7
        return out + bytes((n,))

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx(*tensors: bytes) -> bytes:
    return field(1, 8) + field(7, b"".join(field(5, t) for t in tensors))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x08\x08" + b"\xff" * 40, "no ONNX model"),
        (field(1, 8), "no graph"),
        (field(1, 8) + b"\x3a\xff\xff\xff\xff\x07", "no ONNX model"),
        (onnx(field(1, (1 << 64) - 1) + field(2, 1)), "no shape"),
        (onnx(field(1, 2) + field(2, 1) + field(9, bytes(4))), "not the bytes"),
        (onnx(*[field(8, b"a") + field(2, 1)] * 2), "two tensors"),
        (onnx(b"\x08"), "damaged"),
    ],
)
def test_hostile_onnx(tmp_path: Path, data: bytes, words: str) -> None:
    refused(tmp_path, data, words, "m.onnx")


def test_onnx_with_fewer_numbers_than_its_shape_is_refused_when_they_are_asked_for(
    tmp_path: Path,
) -> None:
    model = read(
        tmp_path, onnx(field(1, 5) + field(2, 6) + field(8, b"a") + field(5, b"\x01\x02")), "m.onnx"
    )
    assert model is not None
    with pytest.raises(models.Unreadable, match="not the numbers"):
        model.array("a")
    model = read(
        tmp_path, onnx(field(1, 1) + field(2, 6) + field(8, b"a") + field(5, b"\xff")), "m.onnx"
    )
    assert model is not None
    with pytest.raises(models.Unreadable, match="damaged"):
        model.array("a")


def test_onnx_without_its_ending_is_known_by_its_structure(tmp_path: Path) -> None:
    model = read(tmp_path, (COMMITTED / "weights.onnx").read_bytes(), "model")
    assert model is not None
    assert model.format == "onnx"
    assert read(tmp_path, b"\x08\x08 and no protocol buffer at all", "model") is None


def test_hdf5_scalar_within_the_header_is_read(tmp_path: Path) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    with h5py.File(tmp_path / "m.h5", "w") as f:
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5d.create(f.id, b"step", h5py.h5t.IEEE_F32LE, space, layout)
        f["step"][()] = 7
    with models.read(tmp_path / "m.h5", "m.h5") as model:  # type: ignore[union-attr]
        assert model.array("step").tolist() == 7
