"""Write a model file of each kind with the library it belongs to, and what is to be read from it.

    python -m tests.models.write DIRECTORY

`expected.json` has, for each file, format and tensors: dtype, shape, SHA-256 of the elements in
row-major order, and sum, mean, smallest and largest where NumPy can count. It is computed from what
the library itself reads back, never by devml-git. `make test-models` runs it in a venv of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np

os.environ["KERAS_BACKEND"] = "torch"
Tensors = dict[str, "np.ndarray | tuple[str, tuple[int, ...], bytes]"]
RANDOM = np.random.RandomState(0)
WEIGHTS = RANDOM.randn(3, 4).astype("f4")
PLAIN = {
    **{t: (RANDOM.randn(2, 3) * 50).astype(t) for t in ("f2", "f4", "f8")},
    **{t: RANDOM.randint(-100, 100, (5,)).astype(t) for t in ("i1", "i2", "i4", "i8")},
    **{t: RANDOM.randint(0, 200, (5,)).astype(t) for t in ("u1", "u2", "u4", "u8")},
    "bool": np.array([[True, False]]),
    "scalar": np.array(2.5),
    "none": np.zeros((0, 7), "f4"),
}
OTHER = {"a name with spaces, ü and \U0001f600": WEIGHTS, "odd": np.array([np.nan, np.inf, -0.0])}


def described(value: object) -> dict[str, object]:
    """Return what is expected of one tensor: an array, or (dtype, shape, bytes)."""
    if isinstance(value, tuple):
        dtype, shape, data = value
        return {"dtype": dtype, "shape": list(shape), "sha256": hashlib.sha256(data).hexdigest()}
    array = np.asarray(value)
    little = array.astype(array.dtype.newbyteorder("<")) if array.dtype.kind in "iufc" else array
    row = {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
    }
    if array.dtype.kind in "iufb" and array.size and np.isfinite(array).all():
        f = array.astype("f8")
        row |= {"sum": f.sum(), "mean": f.mean(), "min": f.min(), "max": f.max()}
    return row


def packed(array: np.ndarray) -> np.ndarray:
    """Return records without the gaps between their fields, which hold anything."""
    return (
        np.array(array.tolist(), [(n, array.dtype[n]) for n in array.dtype.names])
        if array.dtype.names
        else array
    )


def of_torch(tensor: object) -> tuple[str, tuple[int, ...], bytes]:
    """Return a torch tensor's type, shape and bytes, as torch itself has them."""
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    flat = tensor.detach().contiguous().reshape(-1)
    return (
        name,
        tuple(tensor.shape),
        flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"",
    )


# -- one function a library: writes files, returns name -> (format, tensors) ----------------------


def numpy_files(to: Path) -> dict[str, tuple[str, Tensors]]:
    records = np.array([(1, 2.5), (3, 4.5)], [("a", "<i4"), ("b", ">f8")])
    np.save(to / "rows.npy", WEIGHTS)
    np.save(to / "fortran.npy", np.asfortranarray(WEIGHTS))
    np.save(to / "big-endian.npy", WEIGHTS.astype(">f4"))
    np.save(to / "records.npy", records)
    np.save(to / "objects.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    np.savez(to / "stored.npz", **PLAIN, **OTHER)
    np.savez_compressed(to / "deflated.npz", **PLAIN, objects=np.array([None]))
    single = {
        n: ("npy", {"array": np.load(to / n)})
        for n in ("rows.npy", "fortran.npy", "big-endian.npy")
    }
    raw = ("npy", {"array": ("void96", (2,), records.tobytes())})
    with np.load(to / "stored.npz") as stored, np.load(to / "deflated.npz") as deflated:
        return single | {
            "records.npy": raw,
            "objects.npy": ("npy", {}),
            "stored.npz": ("npz", dict(stored)),
            "deflated.npz": ("npz", {n: deflated[n] for n in PLAIN}),
        }


def safetensors_files(to: Path) -> dict[str, tuple[str, Tensors]]:
    import torch
    from safetensors.numpy import load_file, save_file
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    save_file(PLAIN | OTHER, to / "plain.safetensors", metadata={"trained": "yes", "ü": "ß"})
    wide = torch.from_numpy(WEIGHTS) * 10
    names = "bfloat16 float8_e4m3fn float8_e5m2 float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz complex64"
    narrow = {n: wide.abs().to(getattr(torch, n)) for n in names.split()}
    packed = torch.arange(8, dtype=torch.uint8).reshape(2, 4).view(torch.float4_e2m1fn_x2)
    save_torch(narrow | {"packed": packed}, to / "narrow.safetensors")
    save_file({"a": WEIGHTS}, to / "m-00001-of-00002.safetensors")
    save_file({"b": WEIGHTS + 1, "c": WEIGHTS + 2}, to / "m-00002-of-00002.safetensors")
    where = {"a": 1, "b": 2, "c": 2}
    index = {
        "metadata": {"total_size": 144},
        "weight_map": {n: f"m-0000{i}-of-00002.safetensors" for n, i in where.items()},
    }
    (to / "m.safetensors.index.json").write_text(json.dumps(index))
    shards = {n: load_file(to / n) for n in sorted(set(index["weight_map"].values()))}
    every = {n: t for shard in shards.values() for n, t in shard.items()}
    return {
        "plain.safetensors": ("safetensors", load_file(to / "plain.safetensors")),
        "narrow.safetensors": (
            "safetensors",
            {n: of_torch(t) for n, t in load_torch(to / "narrow.safetensors").items()}
            | {"packed": ("float4_e2m1fn", (2, 8), bytes(range(8)))},
        ),
        "m.safetensors.index.json": ("safetensors", every),
    } | {n: ("safetensors", t) for n, t in shards.items()}


def torch_files(to: Path) -> dict[str, tuple[str, Tensors]]:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    for parameter in net.parameters():
        parameter.data.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) / 7)
    state = net.state_dict()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(5, 4)).sum().backward()
    optimizer.step()
    t = torch.from_numpy(PLAIN["f4"].repeat(4, 1).reshape(2, 3, 4))
    tied = torch.ones(2, 2)
    odd = {
        "transposed": t.transpose(0, 2), "slice": t[:, 1:, ::2], "expanded": torch.ones(1, 3).expand(4, 3),
        "parameter": torch.nn.Parameter(t[0].t()), "empty": torch.zeros(0, 3), "scalar": torch.tensor(7),
        "later": t[1], "tied": {"a": tied, "b": tied}, "float8_t": t[0].to(torch.float8_e5m2).t(),
    }  # fmt: skip
    types = (
        "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool "
        "complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu"
    )
    odd |= {n: t.abs().to(getattr(torch, n)) for n in types.split()}
    checkpoint = {
        "model": state, "optimizer": optimizer.state_dict(), "epoch": 3, "array": WEIGHTS,
        "loss": np.float64(0.25), "name": "run 7",
    }  # fmt: skip
    torch.save(state, to / "state.pt")
    torch.save(net, to / "module.pt")
    torch.save(checkpoint, to / "checkpoint.ckpt")
    torch.save(odd, to / "odd.pth")
    torch.save(t, to / "pytorch_model.bin")
    torch.save(state, to / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(net), to / "script.pt")

    def named(tensors: object) -> Tensors:
        return {n: of_torch(v) for n, v in tensors.items() if isinstance(v, torch.Tensor)}

    back = torch.load(to / "odd.pth", weights_only=False)
    read = torch.load(to / "checkpoint.ckpt", weights_only=False)
    moments = read["optimizer"]["state"].items()
    return {
        "state.pt": ("torch", named(torch.load(to / "state.pt"))),
        "module.pt": (
            "torch",
            named(torch.load(to / "module.pt", weights_only=False).state_dict()),
        ),
        "script.pt": ("torch", named(torch.jit.load(to / "script.pt").state_dict())),
        "legacy.pt": ("torch", {}),
        "pytorch_model.bin": ("torch", {"tensor": of_torch(torch.load(to / "pytorch_model.bin"))}),
        "odd.pth": (
            "torch",
            named(back) | {f"tied.{n}": of_torch(v) for n, v in back["tied"].items()},
        ),
        "checkpoint.ckpt": (
            "torch",
            {f"model.{n}": v for n, v in named(read["model"]).items()}
            | {f"optimizer.state.{i}.{n}": v for i, s in moments for n, v in named(s).items()}
            | {"array": read["array"]},
        ),
    }


def onnx_files(to: Path) -> dict[str, tuple[str, Tensors]]:
    import onnx
    from onnx import TensorProto as T
    from onnx import helper, numpy_helper

    kinds = {
        "FLOAT": [1.5, 2, -3], "INT32": [-1, 2, 300], "INT8": [-1, 2, -100], "INT64": [-5, 1 << 40],
        "UINT16": [1, 65535], "FLOAT16": [1.5, -2], "DOUBLE": [1.5, -2], "UINT64": [1, 1 << 63],
        "BFLOAT16": [1.5, -2], "FLOAT8E4M3FN": [1.5, -2], "FLOAT8E5M2": [1.5, -2], "BOOL": [True, False],
        "COMPLEX64": [1 + 2j, 3], "COMPLEX128": [1 + 2j, 3], "UINT32": [1, 1 << 31],
    }  # fmt: skip
    typed = [helper.make_tensor(f"typed.{k}", getattr(T, k), [len(v)], v) for k, v in kinds.items()]
    raw = [numpy_helper.from_array(v, f"raw.{n}") for n, v in PLAIN.items()]
    packed = helper.make_tensor("int4", T.INT4, [3], [1, -2, 3])
    texts = helper.make_tensor("texts", T.STRING, [1], [b"x"])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "raw.f4"], ["y"]), helper.make_node("Relu", ["y"], ["z"])],
        "graph", [value("x", T.FLOAT, [None, 2])], [value("z", T.FLOAT, [None, 3])],
        initializer=[*typed, *raw, packed, texts],
    )  # fmt: skip
    model = helper.make_model(
        graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 21)]
    )
    helper.set_model_props(model, {"trained": "yes"})
    onnx.save(model, to / "weights.onnx")
    beside = helper.make_model(helper.make_graph([], "graph", [], [], initializer=raw[:1]))
    onnx.save(
        beside,
        to / "beside.onnx",
        save_as_external_data=True,
        location="beside.data",
        size_threshold=0,
    )
    (to / "beside.data").unlink()
    back = onnx.load(to / "weights.onnx").graph.initializer
    arrays = {t.name: numpy_helper.to_array(t) for t in back if t.name not in {"texts", "int4"}}
    tensors = {n: (a.dtype.name, a.shape, a.tobytes()) for n, a in arrays.items()}
    return {"weights.onnx": ("onnx", tensors | {"int4": ("int4", (3,), bytes(packed.int32_data))})}


def gguf_files(to: Path) -> dict[str, tuple[str, Tensors]]:
    import gguf

    kinds = gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(to / "quantised.gguf", "llama")
    writer.add_uint32("llama.block_count", 3)
    writer.add_float32("llama.epsilon", 0.5)
    writer.add_array("tokenizer.ggml.tokens", [f"token {i}" for i in range(100)])
    writer.add_array("few", [1, 2, 3])
    writer.add_bool("yes", True)
    rows = np.random.RandomState(1).randn(2, 256).astype("f4")
    for t in ("f4", "f2", "f8", "i1", "i2", "i4", "i8"):
        writer.add_tensor(t, rows.astype(t))
    for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16", "TQ1_0", "TQ2_0", "MXFP4"):
        kind = getattr(kinds, name)
        writer.add_tensor(name, gguf.quants.quantize(rows, kind), raw_dtype=kind)
    for kind, (block, size) in gguf.constants.GGML_QUANT_SIZES.items():
        if block > 1:  # a row of each type, whatever it means
            data = np.arange(size * 2, dtype="u4").astype("u1").reshape(1, -1)
            writer.add_tensor(f"row.{kind.name}", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    names = {"F32": "float32", "F16": "float16", "F64": "float64", "BF16": "bfloat16", "I8": "int8",
             "I16": "int16", "I32": "int32", "I64": "int64"}  # fmt: skip
    found: Tensors = {}
    for t in gguf.GGUFReader(to / "quantised.gguf").tensors:
        kind = t.tensor_type.name
        shape = tuple(int(n) for n in reversed(t.shape))
        found[t.name] = names.get(kind, kind.lower()), shape, np.ascontiguousarray(t.data).tobytes()
    return {"quantised.gguf": ("gguf", found)}


def hdf5_files(to: Path) -> dict[str, tuple[str, Tensors]]:
    import h5py

    with h5py.File(to / "sets.h5", "w") as f:
        for name, array in PLAIN.items():
            f[f"group/{name}"] = array
        f.create_dataset("deflated", data=WEIGHTS, compression="gzip")
        f["big-endian"] = WEIGHTS.astype(">f4")
        f["texts"] = ["a", "b"]
        f["again"] = f["group/f4"]
        f["soft"] = h5py.SoftLink("/group/f4")
        f["outside"] = h5py.ExternalLink("/etc/passwd", "/")
        f["group/cycle"] = f["group"]
        f.create_dataset("elsewhere", (3,), "f4", external=[("/etc/passwd", 0, 12)])
        f.attrs["epoch"] = 3
    with h5py.File(to / "block.h5", "w", userblock_size=512) as f:
        f["weights"] = WEIGHTS
    with h5py.File(to / "sets.h5") as f, h5py.File(to / "block.h5") as g:
        sets = {f"group/{n}": f[f"group/{n}"][()] for n in PLAIN}
        sets |= {n: f[n][()] for n in ("deflated", "big-endian", "again")}
        return {"sets.h5": ("hdf5", sets), "block.h5": ("hdf5", {"weights": g["weights"][()]})}


def keras_files(to: Path) -> dict[str, tuple[str, Tensors]]:
    import keras

    layers = [keras.layers.Dense(3, name="one"), keras.layers.Dense(2, name="two")]
    model = keras.Sequential([keras.Input((4,)), *layers], name="net")
    model.set_weights([WEIGHTS.T[:, :3], WEIGHTS[0, :3], WEIGHTS[:, :2], WEIGHTS[0, :2]])
    model.save(to / "net.keras")
    weights = {
        f"layers/{place}/vars/{i}": np.asarray(w.numpy())
        for place, layer in zip(
            ("dense", "dense_1"), keras.models.load_model(to / "net.keras").layers, strict=True
        )
        for i, w in enumerate(layer.weights)
    }
    return {"net.keras": ("keras", weights)}


def sklearn_files(to: Path) -> dict[str, tuple[str, Tensors]]:
    import joblib
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    x = np.random.RandomState(2).randn(40, 3)
    y = np.array(["no", "yes"])[(x[:, 0] > 0).astype(int)]
    line = LogisticRegression(C=0.5).fit(x, y)
    forest = RandomForestClassifier(2, max_depth=2, random_state=0).fit(x, y)
    mixed = {
        "line": line,
        "objects": np.array([{"deep": WEIGHTS}, None]),
        "fortran": np.asfortranarray(WEIGHTS),
    }
    files: dict[str, tuple[str, Tensors]] = {}

    def expected(model: object, name: str) -> Tensors:
        return {f"{name}{n}": (a.dtype.name, a.shape, a.tobytes())
                for n, a in vars(model).items() if isinstance(a, np.ndarray)}  # fmt: skip

    def trees(model: object) -> Tensors:
        found = expected(model, "")
        for i, tree in enumerate(model.estimators_):
            found |= expected(tree, f"estimators_.{i}.")
            state = tree.tree_.__getstate__()
            found |= {
                f"estimators_.{i}.tree_.{n}": (packed(v).dtype.name, v.shape, packed(v).tobytes())
                for n, v in state.items()
                if isinstance(v, np.ndarray)
            }
            classes = tree.tree_.__reduce__()[1][1]
            found[f"estimators_.{i}.tree_.1"] = classes.dtype.name, classes.shape, classes.tobytes()
        return found

    for n in range(6):
        (to / f"line-{n}.pkl").write_bytes(pickle.dumps(line, protocol=n))
        files[f"line-{n}.pkl"] = (
            "pickle",
            expected(pickle.loads((to / f"line-{n}.pkl").read_bytes()), ""),
        )
    for ending, how in (("", 0), ("-zlib", ("zlib", 3)), ("-gzip", ("gzip", 3)), ("-bz2", ("bz2", 3)), ("-lzma", ("lzma", 3)), ("-xz", ("xz", 3))):  # fmt: skip
        joblib.dump(forest, to / f"forest{ending}.joblib", compress=how)
        files[f"forest{ending}.joblib"] = (
            "pickle",
            trees(joblib.load(to / f"forest{ending}.joblib")),
        )
    joblib.dump(mixed, to / "mixed.joblib")
    back = joblib.load(to / "mixed.joblib")
    files["mixed.joblib"] = "pickle", expected(back["line"], "line.") | {
        "objects.0.deep": back["objects"][0]["deep"], "fortran": back["fortran"],
    }  # fmt: skip
    return files


LIBRARIES = (
    numpy_files, safetensors_files, torch_files, onnx_files, gguf_files, hdf5_files, keras_files,
    sklearn_files,
)  # fmt: skip


def main(to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    expected = {}
    for write in LIBRARIES:
        for name, (form, tensors) in write(to).items():
            rows = {n: described(t) for n, t in tensors.items()}
            expected[name] = {"format": form, "tensors": rows}
    text = json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False)
    (to / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
