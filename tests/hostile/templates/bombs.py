"""Few bytes, or many, that cost a reader more than they should: time, memory."""

from __future__ import annotations

import json

from tests.hostile.builder import Hostile, template


def laughs(depth: int = 10, width: int = 10) -> str:
    """Return YAML whose anchors double and double."""
    lines = ["a0: &a0 lol"]
    for n in range(1, depth):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]")
    return "\n".join(lines) + "\n"


# -- YAML, TOML, JSON --------------------------------------------------------------------------------


@template("status git-commit diff", arrival="pull")
def laughing_params(it: Hostile) -> None:
    it.write("params.yaml", laughs())
    it.write("dvc.yaml", "stages:\n  a:\n    cmd: echo ${a9}\n    outs: ['${a0}.txt']\n")
    it.commit()


@template("status git-commit", arrival="pull")
def laughing_pointer(it: Hostile) -> None:
    body = "\n".join("    " + line for line in laughs().splitlines())
    it.pointer("x", it.put("x"), more=f"meta:\n  devml:\n{body}\n")
    it.pointer("models/a.pt", it.put("weights 2\n"), more=f"meta:\n  x:\n{body}\n")
    it.commit()


@template("status git-commit", arrival="pull")
def laughing_pipeline(it: Hostile) -> None:
    it.write("dvc.yaml", laughs() + "stages: *a9\n")
    it.write("dvc.lock", laughs() + "stages: *a9\n")
    it.commit()


@template("status git-commit", arrival="pull")
def matrix(it: Hostile) -> None:
    axes = "".join(f"      k{n}: [{', '.join(map(str, range(40)))}]\n" for n in range(4))
    it.write(
        "dvc.yaml", f"stages:\n  a:\n    matrix:\n{axes}    cmd: x\n    outs: ['o-${{item.k0}}']\n"
    )
    it.commit()


@template("status git-commit", arrival="pull")
def foreach(it: Hostile) -> None:
    it.write("dvc.yaml", f"vars:\n- l: {list(range(60_000))}\nstages:\n  a:\n    foreach: ${{l}}\n"
                         "    do: {cmd: 'x ${item}', outs: ['o-${item}']}\n")  # fmt: skip
    it.commit()


@template("status diff", arrival="pull")
def interpolation_of_itself(it: Hostile) -> None:
    it.write("params.yaml", "a: ${b}\nb: ${a}\nc: " + "${" * 5000 + "}" * 5000 + "\n")
    it.write(
        "dvc.yaml", "stages:\n  a:\n    cmd: ${c} ${a}\n    outs: ['" + "${a.b.c}" * 3000 + "']\n"
    )
    it.commit()


@template("status show git-commit", arrival="pull")
def deep_yaml(it: Hostile) -> None:
    it.write("x.dvc", "outs: " + "[" * 50_000)
    it.write("y.dvc", "outs:\n- meta: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n  path: y\n")
    it.write("params.yaml", "".join(" " * n + "a:\n" for n in range(1500)))
    it.write("dvc.yaml", "stages: " + "[" * 5000 + "]" * 5000)
    it.commit()


@template("diff log show", arrival="pull")
def deep_measures(it: Hostile) -> None:
    it.write("metrics.json", '{"a":' * 100_000 + "1" + "}" * 100_000)
    it.write("params.yaml", "a: " + "[" * 20_000 + "]" * 20_000)
    it.commit()


@template("status git-commit", arrival="pull")
def deep_toml(it: Hostile) -> None:
    it.write("devml.toml", "track = " + "[" * 20_000 + "]" * 20_000 + "\n")
    it.commit()


@template("status git-commit", arrival="pull")
def dotted_toml(it: Hostile) -> None:
    it.write("devml.toml", "a" + ".a" * 20_000 + " = 1\n")
    it.write("pyproject.toml", "[tool.devml-git]\n" + "[a" + ".a" * 9000 + "]\n")
    it.commit()


@template("diff log", arrival="pull")
def large_measures(it: Hostile) -> None:
    it.write("metrics.json", json.dumps({f"k{n}": n for n in range(1_000_000)}))
    it.write("params.yaml", "".join(f"k{n}: {n}\n" for n in range(600_000)))
    it.commit()


@template("diff status", arrival="pull")
def large_numbers(it: Hostile) -> None:
    it.write(
        "metrics.json",
        '{"a": ' + "9" * 2_000_000 + ', "b": 1e999999999, "c": -0.' + "1" * 90000 + "}",
    )
    it.write(
        "params.yaml",
        "a: 0x" + "f" * 1_000_000 + "\nb: 1_" + "0" * 99999 + "\nc: 1:1" + ":1" * 9999 + "\n",
    )
    it.commit()


# -- counts ----------------------------------------------------------------------------------------------


@template("status git-commit", arrival="pull")
def many_outs(it: Hostile) -> None:
    entries = "".join(
        f"- md5: {n:032x}\n  size: 1\n  hash: md5\n  path: o/{n}\n" for n in range(20_000)
    )
    it.write("x.dvc", "outs:\n" + entries)
    it.commit()


@template("status git-diff", arrival="pull")
def large_pointer(it: Hostile) -> None:
    it.pointer("x", it.put("x"), more="desc: " + "x" * 17_000_000 + "\n")
    it.commit()


@template("git-diff", arrival="pull")
def many_pointers(it: Hostile) -> None:
    for n in range(1000):
        it.pointer(f"p/{n}", f"{n:032x}")
    it.commit("before")
    for n in range(1000):
        it.pointer(f"p/{n}", f"{n + 1:032x}")
    it.commit("after")


@template("status git-commit")
def many_remotes(it: Hostile) -> None:
    it.append(
        ".dvc/config",
        "".join(f"['remote \"r{n}\"']\n    url = s3://b/{n}\n" for n in range(60_000)),
    )
    it.commit()


@template("checkout show")
def many_members(it: Hostile) -> None:
    it.directory("d", [{"md5": f"{n:032x}", "relpath": f"m/{n}"} for n in range(300_000)])
    it.commit()


@template("show fetch")
def large_manifest(it: Hostile) -> None:
    """Three times the bytes that any manifest may have, nearly all of them blanks."""
    oid = "5" * 32 + ".dir"
    it.put(b"[" + b" " * (300 << 20) + b"]", oid)
    it.pointer("d", oid, more="  nfiles: 1\n")
    it.commit()


@template("status show", arrival="pull")
def many_pipelines(it: Hostile) -> None:
    for n in range(800):
        it.write(
            f"s{n}/dvc.yaml", f"stages:\n  a:\n    cmd: x\n    outs: [o{n}]\n    params: [p{n}]\n"
        )
        it.write(
            f"s{n}/dvc.lock",
            f"schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n    - {{path: o{n}, md5: {n:032x}}}\n",
        )
    it.commit()


@template("status git-commit", arrival="pull")
def many_subprojects(it: Hostile) -> None:
    for n in range(400):
        it.write(f"s{n}/.dvc/config", "[core]\n")
        it.write(f"s{n}/devml.toml", 'track = ["*.bin"]\n')
    it.write("/".join(["e"] * 300) + "/.dvc/config", "")
    it.commit()


@template("log show", visit="plain")
def many_refs(it: Hostile) -> None:
    head = it.git("rev-parse", "HEAD").strip()
    it.git("update-ref", "--stdin",
           stdin="".join(f"create refs/tags/t{n} {head}\n" for n in range(5000)).encode())  # fmt: skip
    it.commit()


@template("log blame", visit="plain")
def many_commits(it: Hostile) -> None:
    pieces = []
    for n in range(1500):
        data = f"outs:\n- md5: {n:032x}\n  size: {n}\n  hash: md5\n  path: a.pt\n"
        message = f"commit {n}\n" + "x" * 1000
        pieces.append(f"commit refs/heads/main\ncommitter a <a@b> {1700000000 + n} +0000\n"
                      f"data {len(message)}\n{message}\n"
                      + (f"from {it.git('rev-parse', 'HEAD').strip()}\n" if not n else "")
                      + f"M 100644 inline models/a.pt.dvc\ndata {len(data)}\n{data}\n")  # fmt: skip
    it.git("fast-import", "--quiet", "--force", stdin="".join(pieces).encode())
    it.git("reset", "-q", "--hard")
    it.commit()


# -- patterns ----------------------------------------------------------------------------------------------


@template("status git-commit", arrival="pull")
def pattern_of_stars(it: Hostile) -> None:
    it.write(".dvcignore", "*a" * 30 + "b\n" + "**/" * 60 + "x\n")
    it.write("a" * 200, "x")
    it.write("/".join(["a"] * 40) + "/a", "x")
    it.commit()


@template("status git-commit snapshot", arrival="pull")
def rule_of_stars(it: Hostile) -> None:
    stars = "*a" * 30 + "b"
    deep = "**/" * 60 + "x"
    it.write("devml.toml", f'track = ["{stars}", "{deep}", "**/*a**a/**/*a*a*a*a*a*a*a*ab/"]\n'
                           f'metrics = ["{stars}", "{deep}"]\nparams = ["{deep}", "[[[a-z]*]*]*"]\n'
                           f'[tables]\n"{stars}" = ["id"]\n[better]\n"{stars}" = "lower"\n')  # fmt: skip
    it.write("a" * 200, "x")
    it.write("/".join(["a"] * 40) + "/a", "x")
    it.commit()


@template("status git-commit", arrival="pull")
def rules_without_number(it: Hostile) -> None:
    it.write("devml.toml", "track = [" + ", ".join(f'"a{n}*b*c"' for n in range(50_000)) + "]\n")
    it.write(".dvcignore", "".join(f"a{n}*b*c\n" for n in range(100_000)))
    it.commit()


@template("git-commit status", arrival="pull")
def gitignore_of_stars(it: Hostile) -> None:
    """Git's own matcher is git's matter; ours, for the same file, is not."""
    it.write(
        ".gitignore", "/data\n" + "".join(f"x{n}*y/\n" for n in range(20_000)) + "*a" * 12 + "b\n"
    )
    it.commit()


@template("status checkout")
def large_settings(it: Hostile) -> None:
    it.append(".dvc/config", "# " + "x" * 30_000_000 + "\n")
    it.write("devml.toml", "# " + "x" * 30_000_000 + "\n")
    it.commit()


@template("log show", visit="plain")
def long_message(it: Hostile) -> None:
    it.write("train.py", "print(3)\n")
    it.git("add", "-A")
    it.git("commit", "-q", "-F", "-", stdin=b"x" * 5_000_000)
