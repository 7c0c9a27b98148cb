"""Names that a terminal, a shell or git would take for something else."""

from __future__ import annotations

import json

from tests.hostile.builder import Hostile, template
from tests.hostile.templates.content import _each

ESC = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x1b[31m"
C1 = "\x9b31m\x85\x90"
BIDI = "a\u202egpj.\u2066x\u2069\u200f\u2028"
MARKUP = "[link=http://x]x[/link][bold red]"
ODD = {
    "esc": ESC,
    "c1": C1,
    "bidi": BIDI,
    "markup": MARKUP,
    "lines": "a\nerror: b\r",
    "bs": "x\b\b\b\x7f",
}
COMMANDS = ("$(cd ..;cd ..;echo>struck&&touch x)", "$(cd ..;cd ..;cd struck&&touch dollar)",
            "`cd ..;cd ..;cd struck&&touch backtick`", ";cd ..;cd ..;cd struck;touch semicolon;",
            "'\"; cd ..;cd ..;cd struck; touch quote #")  # fmt: skip
OPTIONS = (
    "-x",
    "--force",
    "--output=evil",
    "-",
    "--",
    ":(glob)**",
    ":!x",
    ":/",
    "@{u}",
    "HEAD",
    "a b ",
)


@template("git-commit status show", arrival="pull")
def names_with_control_characters(it: Hostile) -> None:
    for word in ODD.values():
        it.artifact(f"n/{word}", "x")
        it.write(f"n/{word}.csv", word)
    it.commit()


@template("git-commit status", arrival="pull")
def broken_pointers_with_control_characters(it: Hostile) -> None:
    """The hook's hint once printed them raw, in a command to copy."""
    for name, word in ODD.items():
        it.write(f"{word}.dvc", "outs: [\n")
        it.write(f"{word}/dvc.yaml", f"stages: {name}\n")
        it.write(f"{word}/dvc.lock", "[")
    it.commit()


@template("status git-commit diff", arrival="pull")
def texts_with_control_characters(it: Hostile) -> None:
    """Keys, values, stages, remotes, rules; what parsers say of them."""
    for n, word in enumerate(ODD.values()):
        quoted = json.dumps(word, ensure_ascii=n % 2 == 0)
        it.write("metrics.json", json.dumps({w: i for i, w in enumerate(ODD.values())}))
        it.write(f"p{n}.yaml", f"{quoted}: {quoted}\n")
        it.write(f"x{n}.dvc", f"outs:\n- path: {quoted}\n  md5: {quoted}\n  {quoted}: 1\n")
        it.write(
            f"y{n}.dvc",
            f"outs:\n- path: y{n}\n  md5: {n:032x}\n  desc: {quoted}\n  remote: {quoted}\n",
        )
    it.write("devml.toml", 'params = ["*.yaml"]\nmetrics = ["metrics.json"]\n')
    it.write(
        "dvc.yaml",
        f"stages:\n  {json.dumps(ESC)}:\n    cmd: {json.dumps(ESC)}\n    outs: [{json.dumps(BIDI)}]\n",
    )
    it.commit()


@template("status diff git-commit", arrival="pull")
def rules_with_control_characters(it: Hostile) -> None:
    words = ", ".join(json.dumps(w) for w in ODD.values() if "\n" not in w)
    it.write("devml.toml", f"track = [{words}]\nmetrics = [{words}]\nparams = [{words}]\n")
    it.commit()


@template("status show")
def unknown_settings_with_control_characters(it: Hostile) -> None:
    it.write("devml.toml", f"{json.dumps(ESC)} = 1\n")
    it.commit()


@template("show doctor status", visit="own")
def remotes_with_control_characters(it: Hostile) -> None:
    for n, word in enumerate((ESC, C1.replace("\x85", ""), BIDI.replace("\u2028", ""))):
        line = word.replace("]", "")
        it.append(
            ".dvc/config",
            f"['remote \"r{line}\"']\n    url = s3://{line}/{n}\n    {line} = {line}\n",
        )
    it.write(".dvc/config", (it.path / ".dvc/config").read_text().replace("storage", "st\x1b2J"))
    it.commit()


@template("show diff checkout")
def members_with_control_characters(it: Hostile) -> None:
    oid = it.put("x")
    it.directory("d", [{"md5": oid, "relpath": w} for w in ODD.values()])
    it.directory("e", [{"md5": w, "relpath": w} for w in ODD.values()])
    it.commit()


@template("log show", visit="plain")
def people_with_control_characters(it: Hostile) -> None:
    """Author, message, tags, branches."""
    it.git("config", "user.name", f"a{ESC.replace(chr(7), '')}{BIDI}")
    it.git("config", "i18n.commitEncoding", "latin-1")
    it.artifact("models/a.pt", "weights 3\n")
    it.git("add", "-Af")
    it.git("commit", "-q", "--cleanup=verbatim", "-F", "-", stdin=(ESC + BIDI + C1).encode())
    for n, word in enumerate((C1.replace("\x85", ""), BIDI, "\U000e0001\ufeffx")):
        it.git("update-ref", f"refs/tags/t{n}{word.replace(' ', '')}".rstrip("."), "HEAD")


@template("show fetch-before diff-inside blame")
def tensors_with_control_characters(it: Hostile) -> None:
    shapes = {
        w: {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]}
        for n, w in enumerate(ODD.values())
    }
    head = json.dumps(
        {**shapes, "__metadata__": {w: w for w in ODD.values()}}, ensure_ascii=False
    ).encode()
    safetensors = len(head).to_bytes(8, "little") + head + bytes(4 * len(ODD))
    columns = ",".join(w.replace("\n", " ") for w in ODD.values())
    _each(it, {"a.safetensors": safetensors, "b.csv": f"{columns}\n{columns}\n".encode(),
               "c.json": json.dumps(ODD).encode()})  # fmt: skip


@template("git-commit status git-checkout-back", arrival="pull")
def names_that_are_commands(it: Hostile) -> None:
    for word in COMMANDS:
        it.artifact(f"{word}", "x")
        it.write(f"b{word}.dvc", "[")
    it.write("devml.toml", f"track = {json.dumps(list(COMMANDS))}\n")
    it.commit()


@template("git-commit status snapshot", arrival="pull")
def names_that_are_options(it: Hostile) -> None:
    for word in OPTIONS:
        it.artifact(word.replace("/", "_"), "x")
        it.write(f"{word.replace('/', '_')}.md", "x")
    it.write("-m.dvc", "[")
    it.write("--/dvc.yaml", "stages: {}\n")
    it.commit()


@template("log git-push fetch", visit="plain")
def refs_that_are_options(it: Hostile) -> None:
    head = it.git("rev-parse", "HEAD").strip()
    for ref in ("refs/heads/-x", "refs/heads/--upload-pack=touch", "refs/tags/--output=evil", "refs/tags/-1",
                "refs/heads/$(id)", "refs/heads/HEAD", "refs/tags/main", f"refs/heads/{head}"):  # fmt: skip
        it.git("update-ref", ref, "HEAD")
    it.commit()
    for ref in ("refs/heads/-x", "refs/tags/--output=evil"):
        it.git("push", "-q", it.world.bare(), f"{ref}:{ref}")


@template("status checkout git-commit", arrival="pull")
def names_alike(it: Hostile) -> None:
    """One file where case, or a way to write an accent, tells no names apart."""
    for name in (
        "A.bin",
        "a.bin",
        "e\u0301.bin",
        "\xe9.bin",
        "x.",
        "x ",
        "CON",
        "a:b",
        "GIT~1",
        ".git\u200c",
    ):
        it.artifact(f"n/{name}", name)
    it.commit()


@template("status checkout git-commit", arrival="pull")
def names_that_are_long(it: Hostile) -> None:
    it.artifact("l/" + "x" * 250, "x")
    it.artifact("/".join(["deep"] * 300) + "/x", "x")
    it.artifact("/".join(["w" * 200] * 15) + "/x", "x")
    it.pointer("o", it.put("x"), path="y" * 5000)
    it.pointer("p", it.put("x"), path="/".join(["z"] * 3000))
    it.commit()


@template("status git-commit show", arrival="pull")
def names_that_are_no_text(it: Hostile) -> None:
    for word in (b"\xff\xfe", b"a\x80b", b"\xed\xa0\x80", b"\xc0\xaf"):
        name = word.decode("utf-8", "surrogateescape")
        it.write(f"{name}.dvc", f"outs:\n- md5: {it.put('x')}\n  size: 1\n  path: x\n")
        it.write(f"{name}.csv", "a\n")
        it.write(f"{name}/dvc.yaml", "stages: {}\n")
    it.commit()
