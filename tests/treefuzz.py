"""Damaged and odd texts of every kind that a tree has, by seed: a DevmlError, or a result.

    python -m tests.treefuzz KIND SEED SECONDS

reads one text after the other for so long, within bounds of memory, and ends with 1 and the seed at
the first that raised anything else or took too long.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git import (
    config,
    dvc_config,
    dvcignores,
    manifest,
    measures,
    measuring,
    merging,
    patterns,
    pipelines,
    pointers,
    rules,
    store,
    templates,
    yamltext,
)
from devml_git.errors import ContentLost, DevmlError
from tests.models.fuzzing import damaged

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 8  # of processor time: `bounds.FILE_SECONDS`, a few times over
MEMORY = 512 << 20
LONGEST = 200_000

POINTER = b"""\
outs:
- md5: 0123456789abcdef0123456789abcdef.dir
  size: 10
  nfiles: 2
  hash: md5
  path: data
  meta:
    devml:
      md5: 0123456789abcdef0123456789abcdef.dir
      executable: [run.sh]
wdir: ..
"""
LOCK = b"""\
schema: '2.0'
stages:
  train:
    cmd: python train.py
    deps:
    - path: data
      md5: 0123456789abcdef0123456789abcdef
    params:
      params.yaml:
        lr: 0.1
    outs:
    - path: model.pt
      hash: md5
      md5: abcdef6789abcdef0123456789abcdef
      size: 3
  other@1:
    cmd: [a, b]
    outs:
    - {path: /abs/x, md5: abcdef6789abcdef0123456789abcdef}
"""
PIPELINE = b"""\
vars:
- more.yaml:a,b
- {x: &x [1, 2], y: *x}
stages:
  train:
    matrix: {a: ["${x}", 2], b: "${y}"}
    cmd: echo ${item.a} ${z[0].w}
    wdir: sub
    params: [lr, other.yaml: [a.b]]
    outs:
    - ${item.a}.pt: {cache: false, push: true}
  each:
    foreach: ${x}
    do:
      cmd: echo
      metrics: [m.json: {cache: false}]
      vars: [sub.yaml]
metrics: [a.json, ../b.json, /c.json]
params: [p.yaml]
plots: [p.csv, q: {x: a}]
"""
PARAMS = b"lr: 0.1\nnet: &net {depth: 3, sizes: [1, 2]}\nother:\n  <<: *net\n  when: 2001-01-01\n"
RULES = b"track = ['models/**', '!*.tmp', 'data/']\nmetrics = ['m/**/*.json']\n[better]\nacc = 'higher'\n"
DVC_CONFIG = b"[core]\n    remote = r\n['remote \"r\"']\n    url = s3://b/x\n    region = eu\n"
IGNORE = b"*.tmp\n!keep.tmp\n**/a*b*c*d/**/x\n/build/\n[a-z]?*.o\n\\#x\n"
MANIFEST = json.dumps(
    [{"md5": "0123456789abcdef0123456789abcdef", "relpath": n} for n in ("a", "b/c")]
).encode()

PIECES = (
    b"&a ", b"*a", b"<<: *a\n", b"!!python/object:os.x ", b"- ", b": ", b"{", b"}", b"[", b"]" , b"? ",
    b"'", b'"', b"|\n ", b">\n ", b"\n---\n", b"\n...\n", b"%YAML 1.1\n", b"\t", b"# ", b"null", b"~",
    b"true", b"0x1f", b"1:2:3", b"1e999", b".inf", b"9" * 400, b"2001-13-99", b"\xc2\x85", b"\xef\xbb\xbf",
    b"\xe2\x80\xa8", b"../", b"/", b"..", b"C:\\", b"a://b", b"${", b"}", b"${x}", b"**/", b"*", b"!", b"\\",
    b"outs:", b"path:", b"md5:", b"meta:", b"foreach:", b"do:", b"matrix:", b"vars:", b"stages:", b"\r\n",
    b"-1", b"[[", b"]]", b"=", b"'''", b'"""', b"class A:\n x = ", b"(" * 50, b"[" * 50, b"<<<<<<< a\n",
)  # fmt: skip


def odd(data: bytes, seed: int) -> bytes:
    """Return a text with pieces of its languages put in, moved and repeated, then damaged."""
    rng = random.Random(seed)
    out = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        start, length = rng.randrange(len(out) + 1), rng.choice((1, 5, 20, 80))
        match rng.randrange(5):
            case 0 | 1:
                out[at:at] = rng.choice(PIECES)
            case 2:
                out[at : at + rng.choice((0, 1, 5))] = rng.choice(PIECES)
            case 3:
                out[at:at] = out[start : start + length]
            case 4:
                times = rng.choice((2, 10, 1000))
                out[at:at] = bytes(out[start : start + length]) * times
    return (damaged(bytes(out), seed) if rng.random() < 0.4 else bytes(out))[:LONGEST]


def pipeline(text: bytes) -> None:
    measuring.declared("sub/dvc.yaml", text)
    data = yamltext.load_with_aliases("dvc.yaml", text.decode("utf-8", "replace"))
    if isinstance(data, dict):
        one = templates.Pipeline("dvc.yaml", text, data)
        values = templates.values_of(one, dict.fromkeys(one.vars_files(), PARAMS))
        one.stages_vars_files(values)
        templates.counted(one, values)
        pipelines._plain_outs(one)


def lock(text: bytes) -> None:
    pointers.read("dvc.lock", text, pointers.outputs_of("dvc.lock", text, {}))
    measuring._locked("dvc.lock", text)
    pointers.data_of("dvc.lock", text)


def pointer(text: bytes) -> None:
    pointers.collect([("a/data.dvc", text)])
    pointers.side_of(text, ours=True)
    pointers.data_of("a/data.dvc", text)
    with contextlib.suppress(merging.Clash):
        merging.merge("a/data.dvc", POINTER, text, POINTER, Nowhere())
    content = pointers.Content("0" * 31 + "a", 1, None, frozenset())
    if pointers.read("a/data.dvc", text):
        pointers.updated(text, pointers.read("a/data.dvc", text)[0], content)


class Nowhere:
    """No manifest is here."""

    def manifest(self, oid: str, remote: str | None) -> dict[str, str]:
        raise ContentLost(oid)

    def size_of(self, oid: str) -> None:
        return None

    def keep(self, members: object) -> str:
        raise ContentLost("")


def measured(suffix: str) -> Callable[[bytes], object]:
    return lambda text: measures.flatten(measures.load(f"m{suffix}", text))


def settings(name: str) -> Callable[[bytes], None]:
    def read(text: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / name).write_bytes(text)
            found = config.load(Path(place))
            fit, _ = rules.within_bounds(found.track)
            rules.Rules(Path(place), fit).match("models/" + "a/b" * 30)
            measuring.candidate(found)("m/" + "a" * 100)

    return read


def ignores(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / ".dvcignore").write_bytes(text)
        if dvcignores.unfit(Path(place), [".dvcignore"]):
            return
        chosen = store.ignore_filter(Path(place), [".dvcignore"], Path(place))
        if chosen is not None:
            chosen(place, ["a" * 200, "build"], ["abcd" * 50, "x.tmp"])
    for line in text.decode("utf-8", "replace").splitlines():
        patterns.unfit(line)


KINDS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "pointer": (POINTER, pointer),
    "dvc.lock": (LOCK, lock),
    "dvc.yaml": (PIPELINE, pipeline),
    "manifest": (MANIFEST, lambda text: manifest.read_manifest(text, "0" * 32 + ".dir")),
    "devml.toml": (RULES, settings("devml.toml")),
    "pyproject.toml": (b"[tool.devml-git]\n" + RULES, settings("pyproject.toml")),
    ".dvc/config": (
        DVC_CONFIG,
        lambda text: dvc_config.remote_sections_of(text.decode("utf-8", "replace")),
    ),
    ".dvcignore": (IGNORE, ignores),
    "params.yaml": (PARAMS, measured(".yaml")),
    "params.json": (b'{"a": [1, 2.5, null], "b": {"c": "x"}}', measured(".json")),
    "params.toml": (b"a = 1\n[b.c]\nd = [1, 2]\ne = 2001-01-01\n", measured(".toml")),
    "params.py": (b"LR = 0.1\nclass A:\n    X: int = (1, [2, {'a': -3}])\n", measured(".py")),
}


def look_at(kind: str, seed: int) -> None:
    """Read one odd text; what is raised, but for a DevmlError, has kind and seed in it."""
    sound, read = KINDS[kind]
    began = time.process_time()
    try:
        with contextlib.suppress(DevmlError):
            read(odd(sound, seed))
        assert time.process_time() - began < SECONDS, "too slow"
    except Exception as e:
        raise AssertionError(f"{kind}, seed {seed}: {e!r}") from e


def main(kind: str, first: int, seconds: float) -> int:
    look_at(kind, 0)  # the libraries are loaded before memory is bounded
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    end, seed = time.monotonic() + seconds, first
    try:
        while time.monotonic() < end:
            look_at(kind, seed)
            seed += 1
    except AssertionError:
        traceback.print_exc()
        return 1
    print(f"{kind}: {seed - first} texts")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
