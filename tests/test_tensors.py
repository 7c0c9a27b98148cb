"""Models compared tensor by tensor, against NumPy in float64 (and wider)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from devml_git import describing, distance, models, tensors
from devml_git.models import archive, hdf_file
from devml_git.models.model import Part
from devml_git.tensors import ModelChange, Numbers, TensorChange

RNG = np.random.default_rng(7)
Arrays = dict[str, np.ndarray[Any, Any]]


def compared(tmp_path: Path, old: Arrays, new: Arrays, **metadata: tuple[str, str]) -> ModelChange:
    """Write both as safetensors and compare the files."""
    for n, (side, arrays) in enumerate((("old", old), ("new", new))):
        save_file(arrays, tmp_path / side, {k: v[n] for k, v in metadata.items()} or None)
    return compared_files(tmp_path / "old", tmp_path / "new")


def compared_files(old: Path, new: Path, names: tuple[str, str] = ("m", "m")) -> ModelChange:
    one, two = models.read(old, names[0]), models.read(new, names[1])
    assert one is not None
    assert two is not None
    with one, two:
        return tensors.compare(one, two)


def only(change: ModelChange) -> TensorChange:
    (tensor,) = change.tensors
    return tensor


def expected(a: Any, b: Any) -> tuple[float, float, float]:
    """L2 of the difference relative to the old, largest difference, cosine: computed afresh."""
    wide = np.clongdouble if a.dtype.kind == "c" else np.longdouble
    x, y = a.astype(wide).ravel(), b.astype(wide).ravel()
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]

    def length(v: Any) -> Any:
        return np.sqrt((np.abs(v) ** 2).sum())

    cosine = (x.conj() * y).real.sum() / length(x) / length(y)
    return float(length(y - x) / length(x)), float(np.abs(y - x).max()), float(cosine)


def agrees(numbers: Numbers | None, a: Any, b: Any) -> None:
    assert numbers is not None
    l2, max_abs, cosine = expected(a, b)
    assert (numbers.l2, numbers.max_abs) == pytest.approx((l2, max_abs), rel=1e-6, abs=1e-9)
    assert numbers.cosine == pytest.approx(cosine, rel=1e-6, abs=3e-7)


TYPES = [
    "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64",
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool",
]  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_numbers_agree_with_numpy(tmp_path: Path, name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    size = 70_001  # two blocks and an odd end
    a, b = RNG.standard_normal((2, size)) * 20
    if dtype.kind == "u":
        a, b = abs(a), abs(b)
    if dtype.kind == "b":
        a, b = a > 0, b > 0
    if dtype.kind == "c":
        a, b = a + 1j * b, b - 1j * a
    old = a.astype(dtype)
    new = np.where(RNG.random(size) < 0.25, b.astype(dtype), old)
    change = only(compared(tmp_path, {"w": old}, {"w": new}))
    agrees(change.numbers, old, new)
    assert change.change == "modified"
    assert change.numbers is not None
    assert change.numbers.changed == np.count_nonzero(old != new) / size


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e25, 1e38], ids=str)
def test_numbers_hold_where_float32_would_overflow_or_vanish(tmp_path: Path, scale: float) -> None:
    old = (RNG.random(1000) * scale).astype(np.float32)
    new = (old * np.float32(-1.5)).astype(np.float32)
    agrees(only(compared(tmp_path, {"w": old}, {"w": new})).numbers, old, new)


@pytest.mark.parametrize("scale", [1e-200, 1e200], ids=str)
def test_numbers_hold_where_float64_would_overflow_or_vanish(tmp_path: Path, scale: float) -> None:
    old = RNG.random(1000) * scale
    agrees(only(compared(tmp_path, {"w": old}, {"w": -old})).numbers, old, -old)


def test_tiny_difference_of_large_tensors_is_not_lost(tmp_path: Path) -> None:
    old = RNG.standard_normal(200_000).astype(np.float32)
    new = old.copy()
    new[123_456] = np.nextafter(new[123_456], np.float32(9))
    numbers = only(compared(tmp_path, {"w": old}, {"w": new})).numbers
    assert numbers is not None
    assert numbers.changed == 1 / 200_000
    assert (numbers.l2, numbers.max_abs) == pytest.approx(expected(old, new)[:2], rel=1e-6)


def test_what_is_not_finite_is_counted_and_left_out(tmp_path: Path) -> None:
    old = np.array([1, np.nan, np.inf, 2, 3, 4], np.float32)
    new = np.array([1, np.nan, 3, np.nan, -np.inf, 5], np.float32)
    numbers = only(compared(tmp_path, {"w": old}, {"w": new})).numbers
    agrees(numbers, old, new)
    assert numbers is not None
    assert (numbers.nan, numbers.inf, numbers.changed) == ((1, 2), (1, 1), 4 / 6)


def test_all_zeros_before_has_neither_relative_length_nor_cosine(tmp_path: Path) -> None:
    change = only(compared(tmp_path, {"w": np.zeros(9)}, {"w": np.ones(9)}))
    assert change.numbers == Numbers(1.0, None, 1.0, None)


def test_identical_scalar_and_empty_tensors_are_no_change(tmp_path: Path) -> None:
    same: Arrays = {
        "scalar": np.full((), 3.0), "empty": np.zeros((0, 4)), "nan": np.full(3, np.nan),
    }  # fmt: skip
    change = compared(tmp_path, same, dict(same))
    assert (change.tensors, change.unchanged, change.parameters) == ((), 3, (4, 4))


def test_scalar_that_changed_is_told(tmp_path: Path) -> None:
    old, new = np.full((), 2.0), np.full((), 3.0)
    agrees(only(compared(tmp_path, {"w": old}, {"w": new})).numbers, old, new)


def test_each_kind_of_change_has_its_word(tmp_path: Path) -> None:
    kept = RNG.standard_normal((4, 5)).astype(np.float32)
    old: Arrays = {
        "same": kept, "gone": np.ones(3), "wide": np.ones((2, 3)), "typed": kept, "old": kept * 2,
    }  # fmt: skip
    new: Arrays = {
        "same": kept, "come": np.ones(4), "wide": np.ones((3, 2)),
        "typed": kept.astype(np.float16), "new": kept * 2,
    }  # fmt: skip
    change = compared(tmp_path, old, new, epoch=("1", "2"), by=("me", "me"))
    assert {t.name: t.change for t in change.tensors} == {
        "come": "added", "wide": "reshaped", "typed": "retyped", "new": "renamed", "gone": "removed",
    }  # fmt: skip
    by_name = {t.name: t for t in change.tensors}
    assert by_name["new"].to_dict()["from"] == "old"
    agrees(by_name["typed"].numbers, old["typed"], new["typed"])
    assert change.metadata == {"epoch": ("1", "2")}
    assert change.unchanged == 1
    assert change.parameters == (
        sum(a.size for a in old.values()),
        sum(a.size for a in new.values()),
    )


def test_retyped_without_loss_has_changed_nothing(tmp_path: Path) -> None:
    old = np.array([1, 2, np.nan, 4], np.float32)
    numbers = only(compared(tmp_path, {"w": old}, {"w": old.astype(np.float64)})).numbers
    assert numbers is not None
    assert (numbers.changed, numbers.l2, numbers.max_abs, numbers.nan) == (0, 0, 0, (1, 1))


def test_large_tensor_is_cut_into_spans_that_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "_SPAN", 10_000)
    old = RNG.standard_normal((300, 311)).astype(np.float32)
    new = old.copy()
    new[200:250] += 1  # the first spans are alike, and still count for the cosine
    agrees(only(compared(tmp_path, {"w": old}, {"w": new})).numbers, old, new)


def test_models_of_two_formats_are_compared_by_name(tmp_path: Path) -> None:
    old, new = RNG.standard_normal((2, 40, 30))
    np.savez(tmp_path / "m.npz", w=old, b=old[0])
    save_file({"w": new, "b": np.ascontiguousarray(old[0])}, tmp_path / "m.safetensors")
    change = compared_files(
        tmp_path / "m.npz", tmp_path / "m.safetensors", ("m.npz", "m.safetensors")
    )
    assert change.format == ("npz", "safetensors")
    agrees(only(change).numbers, old, new)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)], ids=str)
@pytest.mark.parametrize("packed", ["", "old", "new", "old new"])
def test_arrays_that_lie_otherwise_are_compared_element_by_element(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: tuple[int, ...], packed: str
) -> None:
    monkeypatch.setattr(tensors, "_SPAN", 4000)
    monkeypatch.setattr(tensors, "_BLOCK", 100)
    old, new = RNG.standard_normal((2, 7, 1, 31, 20))
    new[:3] = old[:3]
    for side, array, order in (("old", old, "C"), ("new", new, "F")):
        put = np.savez_compressed if side in packed else np.savez
        lies = np.array(array.transpose(axes), order=order)  # type: ignore[call-overload]
        put(tmp_path / f"{side}.npz", w=lies, same=np.ones_like(lies))
    change = compared_files(tmp_path / "old.npz", tmp_path / "new.npz", ("m.npz", "m.npz"))
    agrees(only(change).numbers, old.ravel(), new.ravel())
    assert change.unchanged == 1


@pytest.mark.parametrize("dtype", ["complex64", "float32", "bool", "bfloat16"])
def test_views_with_strides_are_compared_with_copies(dtype: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    old, new = ((a * (a > 0)).astype(kind) for a in RNG.standard_normal((2, 31, 17)) * 3)
    views = (
        lambda a: a[:, 2], lambda a: a[::2, 1::3], lambda a: np.broadcast_to(a[:1], (5, 17)),
        lambda a: a.T[2:, :4], np.diagonal, lambda a: a[:, None].transpose(2, 1, 0),
    )  # fmt: skip

    def model(array: Any, *, dense: bool) -> models.Model:
        parts = {}
        for i, view in enumerate(views):
            seen = view(array).copy() if dense else view(array)
            tensor = models.Tensor(f"{i}", dtype, seen.shape, seen.nbytes)
            bits = np.frombuffer(seen.tobytes(), np.uint8)
            parts[f"{i}"] = Part(tensor, lambda b=bits: b, lambda s=seen: s)  # type: ignore[misc]
        return models.Model("torch", parts)

    for dense in (False, True):
        change = tensors.compare(model(old, dense=False), model(new, dense=dense))
        for i, view in enumerate(views):
            agrees(change.tensors[i].numbers, view(old), view(new))


@pytest.mark.parametrize("order", ["C", "F"])
def test_packed_arrays_are_compared_without_being_unpacked_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Literal["C", "F"]
) -> None:
    old = RNG.standard_normal((130, 700)).astype(np.float32)
    new = old.copy()
    new[100:] += 1
    monkeypatch.setattr(archive, "IN_MEMORY", 1000)
    for side, array in (("old", old), ("new", new)):
        arrays = {"w": np.array(array, order=order), f"{side}name": np.array(old[:30])}
        np.savez_compressed(tmp_path / f"{side}.npz", **arrays)
    change = compared_files(tmp_path / "old.npz", tmp_path / "new.npz", ("m.npz", "m.npz"))
    by = {t.name: t for t in change.tensors}
    agrees(by["w"].numbers, old, new)
    assert (by["newname"].change, change.notes) == ("renamed", ())


def test_large_packed_arrays_in_two_orders_are_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "_UNPACKED", 1000)
    for side, order in (("old", "C"), ("new", "F")):
        lies = np.array(RNG.standard_normal((30, 30)), order=order)  # type: ignore[call-overload]
        np.savez_compressed(tmp_path / f"{side}.npz", w=lies)
    change = compared_files(tmp_path / "old.npz", tmp_path / "new.npz", ("m.npz", "m.npz"))
    (note,) = change.notes
    assert note.startswith("tensor w: packed, too large for memory, and in another order")


def test_damage_of_a_packed_array_is_a_note(tmp_path: Path) -> None:
    array = RNG.standard_normal(30_000)
    np.savez_compressed(tmp_path / "old.npz", w=array)
    data = bytearray((tmp_path / "old.npz").read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 16] ^= 1  # its checksum
    (tmp_path / "new.npz").write_bytes(data)
    change = compared_files(tmp_path / "old.npz", tmp_path / "new.npz", ("m.npz", "m.npz"))
    assert "w.npy' is damaged: its checksum says so" in change.notes[0]


@pytest.mark.parametrize("chunks", [(7, 3, 11), (1, 30, 11), (40, 1, 1)], ids=str)
@pytest.mark.parametrize("slab", [100, 3000, 30_000, 1 << 20])
def test_data_sets_in_chunks_are_compared_slab_by_slab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, ...], slab: int
) -> None:
    old, new = RNG.standard_normal((2, 40, 30, 11))
    monkeypatch.setattr(hdf_file, "_SLAB", slab)
    monkeypatch.setattr(hdf_file, "_IN_MEMORY", 1000)
    monkeypatch.setattr("devml_git.tensors._BLOCK", 1000)
    for side, array, how in (("old", old, chunks), ("new", new, True)):
        with h5py.File(tmp_path / side, "w") as f:
            f.create_dataset("w", data=array, chunks=how, compression="gzip")
            f.create_dataset("same", data=old, chunks=how)
    change = compared_files(tmp_path / "old", tmp_path / "new", ("m.h5", "m.h5"))
    agrees(only(change).numbers, old, new)
    assert (change.unchanged, change.notes) == (1, ())


def test_another_order_of_bytes_is_no_change(tmp_path: Path) -> None:
    old = RNG.standard_normal(100).astype("<f4")
    np.save(tmp_path / "old.npy", old)
    np.save(tmp_path / "new.npy", old.astype(">f4"))
    change = compared_files(tmp_path / "old.npy", tmp_path / "new.npy", ("m.npy", "m.npy"))
    assert (change.tensors, change.unchanged) == ((), 1)


def test_compressed_and_big_endian_arrays_are_compared(tmp_path: Path) -> None:
    old = RNG.standard_normal(100).astype(">f4")
    new = (old * 2).astype("<f4")
    np.savez_compressed(tmp_path / "old.npz", w=old)
    np.savez_compressed(tmp_path / "new.npz", w=new)
    change = compared_files(tmp_path / "old.npz", tmp_path / "new.npz", ("m.npz", "m.npz"))
    agrees(only(change).numbers, old, new)


def test_text_and_dates_are_compared_by_their_bytes(tmp_path: Path) -> None:
    for side, word in (("old", "abc"), ("new", "abd")):
        days = np.array([f"2020-01-0{n}" for n in (1, 2, len(word))], "M8[D]")
        np.savez(tmp_path / f"{side}.npz", words=np.array(["x", word]), days=days)
    change = only(compared_files(tmp_path / "old.npz", tmp_path / "new.npz", ("m.npz", "m.npz")))
    assert (change.name, change.numbers) == ("words", Numbers(0.5))


@pytest.mark.parametrize("way", ["modified", "renamed", "reordered"])
def test_mapped_memory_is_let_go_of(tmp_path: Path, way: str) -> None:
    """What a span was mapped to must not pile up as memory of ours."""

    def resident() -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.split("RssFile:")[1].split()[0]) << 10

    old = np.ones((24 << 10, 1 << 10), np.float32)
    names = ("m.npz", "m.npz")
    np.savez(tmp_path / names[0], **{f"a{i}": part for i, part in enumerate(np.split(old, 4))})
    new = old * 2 if way != "renamed" else old
    order: Literal["C", "F"] = "F" if way == "reordered" else "C"
    letter = "b" if way == "renamed" else "a"
    parts = {f"{letter}{i}": np.array(p, order=order) for i, p in enumerate(np.split(new, 4))}
    np.savez(tmp_path / "new", **parts)
    before = resident()
    seen = []
    one, two = models.read(tmp_path / "m.npz", "m.npz"), models.read(tmp_path / "new.npz", "m.npz")
    assert one is not None
    assert two is not None

    def look(stop: threading.Event) -> None:
        while not stop.wait(0.001):
            seen.append(resident())

    stop = threading.Event()
    watching = threading.Thread(target=look, args=(stop,))
    with one, two:
        watching.start()
        try:
            assert len(tensors.compare(one, two).tensors) == 4
        finally:
            stop.set()
            watching.join()
        seen.append(resident())
    assert max(seen) - before < 160 << 20  # of 192 MiB; two threads hold at most 64
    assert seen[-1] - before < 20 << 20


# -- in words ------------------------------------------------------------------------------------


def transformer(blocks: int, width: int = 4) -> Arrays:
    shapes = {
        "attn.q": (width, width), "attn.k": (width, width), "attn.v": (width, width),
        "attn.o": (width, width), "mlp.up": (2 * width, width), "mlp.down": (width, 2 * width),
        "norm1": (width,), "norm2": (width,),
    }  # fmt: skip
    found: Arrays = {"embed.weight": RNG.standard_normal((10, width)).astype(np.float32)}
    for n in range(blocks):
        for name, shape in shapes.items():
            key = f"model.layers.{n}.{name}.weight"
            found[key] = RNG.standard_normal(shape).astype(np.float32)
    return found


def told(change: ModelChange) -> list[str]:
    return [line for _, line in describing._inside(change, everything=False)]


def test_transformer_of_hundreds_of_tensors_fits_a_screen(tmp_path: Path) -> None:
    old = transformer(32)
    new = {name: array + np.float32(0.1) for name, array in old.items()}
    lines = told(compared(tmp_path, old, new))
    assert len(lines) == 10
    (attn_q,) = [line for line in lines if "attn.q" in line]
    assert "model.layers.{0-31}.attn.q.weight  32 x [4, 4] float32" in attn_q


def test_block_that_went_wrong_stands_alone(tmp_path: Path) -> None:
    old = transformer(8)
    new = {name: array * np.float32(1.01) for name, array in old.items()}
    new["model.layers.5.mlp.up.weight"][0, 0] = np.nan
    lines = told(compared(tmp_path, old, new))
    (wrong,) = [line for line in lines if "NaN" in line]
    assert "model.layers.5.mlp.up.weight " in wrong
    assert "NaN 0 -> 1" in wrong
    assert any("model.layers.{7 of 0-7}.mlp.up.weight  7 x" in line for line in lines)


def test_thousands_of_unlike_tensors_are_bounded(tmp_path: Path) -> None:
    old = {f"part{n // 50}.module{n % 50}x.weight": np.full(n % 97 + 1, 1.0) for n in range(2000)}
    new = {name: array + 1 for name, array in old.items()}
    assert len(told(compared(tmp_path, old, new))) <= 42


def test_hostile_names_of_tensors_are_escaped_and_bounded(tmp_path: Path) -> None:
    name = "x\x1b[31m\u202e" + "y" * 900
    lines = told(compared(tmp_path, {}, {name: np.ones(3)}))
    assert all("\x1b" not in line and "\u202e" not in line and len(line) < 300 for line in lines)


def test_work_type_is_none_for_what_has_no_numbers() -> None:
    assert distance.work_type(np.dtype("M8[D]")) is None
    assert distance.work_type(np.dtype("U3")) is None


@pytest.mark.parametrize(
    "name", ["float16", "bfloat16", *(n for n in dir(ml_dtypes) if n.startswith("float8_"))]
)
def test_every_number_of_a_narrow_type_is_read_right(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    numbers = np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)
    finite = numbers[np.isfinite(numbers.astype(np.float32))]
    read, _, _ = distance._readers(dtype, dtype)
    for some in (numbers, finite, finite[1:], finite[:1], numbers[-3:]):
        wanted = some.astype(np.float32)
        found = read(np.ascontiguousarray(some), "old")
        good = ~np.isnan(wanted)
        assert np.array_equal(np.isnan(found), ~good)
        assert np.array_equal(found[good].view(np.uint32), wanted[good].view(np.uint32))
