"""How the house is laid out: imports point one way, one door to each program, a quick start."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from devml_git.cli.app import FAMILIES, build
from tests.world import run

PACKAGE = Path(__file__).parents[1] / "devml_git"
# Floor by floor, and on its floor each module imports only those before it
FLOORS = (
    (
        "isolation", "escaping", "privacy", "errors", "progress", "amounts", "gate", "place", "inside", "locks", "bounds", "patterns", "nouns", "rule",
    ),
    (
        "index", "plumbing.programs", "plumbing.names", "plumbing.calls", "plumbing.settings", "plumbing.objects", "plumbing.past", "plumbing.exchange",
        "plumbing.staging", "plumbing.aside", "plumbing", "gitstream", "manifest", "operations", "journal", "rules", "tomltext", "config", "credentials", "ignoring", "yamltext", "pointers", "record", "rescue", "streams", "fingerprints",
        "tripwire", "history", "intake", "cache", "links", "allowed", "dvc_config", "ssh_hosts", "store", "trust", "causes", "patience", "remote", "measures", "templates", "pipelines", "dvcignores", "tree", "location", "scan", "merging", "savepoints", "gathering",
        "published", "verified", "measuring", "treefacts", "choosing", "changing", "treereading", "models.dtypes", "models.model", "models.source", "models.inflate",
        "models.archive", "models.safetensor", "models.npy", "models.described", "models.opcodes", "models.pickled", "models.torch_file", "models.pickles",
        "models.protobuf", "models.onnx_file", "models.gguf_file", "models.hdf_file", "models.sharded", "models", "kept", "allowance", "summaries", "headers", "summarising", "likeness", "following", "walking",
    ),
    (
        "wording", "output", "selecting", "telling", "graphing", "installer", "status", "attributes", "resolving", "permissions", "other_remotes", "supply", "looking", "workspace", "arming", "contents", "restoring",
        "instep", "rescuing", "moving", "snapshotting", "savepointing", "setup", "switching", "settling", "undoing", "transfer", "pushing", "fetching", "verifying",
        "showing", "events", "leftovers", "doctor", "sides", "distance", "tensors", "media", "rows", "tables", "inspecting", "notebook", "describing", "comparing", "inwords",
        "blaming", "arrays", "finding", "reading",
    ),
    (
        "hook", "mergedriver", "textconv", "asking", "demo", "cli.context", "cli.hooks", "cli.rescue", "cli.project", "cli.snapshots", "cli.checkout", "cli.undo",
        "cli.savepoints", "cli.log", "cli.transfer", "cli.verify", "cli.diff", "cli.blame", "cli.app", "cli.funnel", "cli", "__main__",
    ),
)  # fmt: skip
ORDER = ["__init__", *(module for floor in FLOORS for module in floor)]
FLOOR_OF = {module: n for n, floor in enumerate(FLOORS) for module in floor} | {"__init__": 0}
# Which top-level packages only one place may import
DOORS = {
    "typer": "cli.",
    "rich": "output",
    "git": "history",
    "dvc": ("store", "remote"),
    "configobj": "dvc_config",
    "ruamel": "yamltext",
    "yaml": "yamltext",
    "tomllib": "tomltext",
    "tomlkit": "config",
    "h5py": "models.hdf_file",
    "PIL": "headers",
    "tinytag": "headers",
    "polars": ("headers", "tables"),
    "dvc_data": "",
    "dvc_objects": "remote",
    "scmrepo": "",
    "gitdb": "",
    "click": "",
    "subprocess": "plumbing",
}
HEAVY = {
    "dvc",
    "dvc_data",
    "dvc_objects",
    "git",
    "rich",
    "ruamel",
    "tomlkit",
    "asyncio",
    "configobj",
    "numpy",
    "ml_dtypes",
    "h5py",
    "yaml",
    "polars",
    "PIL",
    "tinytag",
}


def module_of(file: Path) -> str:
    name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
    return "demo" if name.startswith("demo") else name.removesuffix(".__init__")


# What the demo copies into its project is a program of the user's, not a module of ours
FILES = [
    f for f in sorted(PACKAGE.rglob("*.py")) if "project" not in f.relative_to(PACKAGE).parts[:-1]
]
TREES = [(module_of(f), ast.parse(f.read_text("utf-8"))) for f in FILES]


def imports(tree: ast.AST, *, typing_only: bool = False) -> Iterator[tuple[str, str, bool, bool]]:
    """Yield (module, name, inside a function, for type checking only) of every import below."""

    def visit(node: ast.AST, inside: bool, typing: bool) -> Iterator[tuple[str, str, bool, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, "", inside, typing) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from ((child.module or "", a.name, inside, typing) for a in child.names)
            elif isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                for one in child.body:
                    yield from visit(ast.Module([one], []), inside, True)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, inside or function, typing)

    yield from visit(tree, False, typing_only)


def own_imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield (module of ours, for type checking only) of every import."""
    for module, name, _, typing in imports(tree):
        if module.split(".")[0] == "devml_git":
            inner = module.removeprefix("devml_git").lstrip(".")
            full = f"{inner}.{name}".strip(".")
            found = full if full in ORDER or full.startswith("demo") else inner or "__init__"
            yield ("demo" if found.startswith("demo") else found), typing


def test_every_module_has_its_place_in_the_order() -> None:
    assert {module for module, _ in TREES} == set(ORDER)


# The package itself is both: what everybody may import, and the door of the library's users
MODULES = [pytest.param(m, t, id=m) for m, t in TREES if m != "__init__"]


@pytest.mark.parametrize(("module", "tree"), MODULES)
def test_module_imports_only_what_comes_before_it(module: str, tree: ast.AST) -> None:
    mine = ORDER.index(module)
    later = {
        other
        for other, typing in own_imports(tree)
        if other != module and not typing and ORDER.index(other) >= mine
    }
    assert later == set()


@pytest.mark.parametrize(("module", "tree"), MODULES)
def test_type_hints_name_no_higher_floor(module: str, tree: ast.AST) -> None:
    higher = {
        other
        for other, typing in own_imports(tree)
        if typing and FLOOR_OF[other] > FLOOR_OF[module]
    }
    assert higher == set()


@pytest.mark.parametrize("program", DOORS)
def test_one_door_to_each_program(program: str) -> None:
    door = DOORS[program]
    through = {
        module
        for module, tree in TREES
        for name, _, _, _ in imports(tree)
        if name.split(".")[0] == program
    }
    if door:
        assert any(module.startswith(door) for module in through)
    demo = program == "subprocess"  # it types commands as a user would
    beside = {
        m for m in through if not (door and m.startswith(door)) and not (demo and m == "demo")
    }
    assert beside == set()


@pytest.mark.parametrize(("module", "tree"), TREES, ids=[m for m, _ in TREES])
def test_heavy_imports_stand_inside_functions(module: str, tree: ast.AST) -> None:
    outside = {
        name
        for name, _, inside, typing in imports(tree)
        if not inside and not typing and name.split(".")[0] in HEAVY
    }
    assert outside == set()


def test_docs_name_the_same_order() -> None:
    text = (PACKAGE.parent / "docs" / "ARCHITECTURE.md").read_text("utf-8")
    for n, floor in enumerate(FLOORS[:3]):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {n} ")]
        assert tuple(row.split("`")[1::2]) == floor


def test_wheel_has_every_file_of_the_package_and_the_hooks(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(argv, cwd=PACKAGE.parent, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as z:
        packed = {name for name in z.namelist() if ".dist-info/" not in name}
    tracked = run("git", "ls-files", "devml_git", "hooks", cwd=PACKAGE.parent).out.splitlines()
    assert packed == {re.sub(r"\Ahooks/", "devml_git/_hooks/", file) for file in tracked}


# -- start-up ------------------------------------------------------------------------------------

BUDGET = "typer rich dvc git ruamel asyncio click yaml tomlkit pathspec"


def loaded_after(code: str, cwd: Path) -> set[str]:
    report = f"{code}\nimport sys\nprint(*(n for n in {BUDGET.split()!r} if n in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", report], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_of_ours(tmp_path: Path) -> None:
    code = "import sys, devml_git; assert not [m for m in sys.modules if 'devml_git.' in m]"
    assert loaded_after(code, tmp_path) == set()


def test_importing_the_hook_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_after("import devml_git.hook", tmp_path) == set()


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_after("import devml_git", tmp_path) == set()


@pytest.mark.parametrize(
    "argv", [[], ["post-index-change", "1", "0"]], ids=["no event", "a later hook acts"]
)
def test_hook_that_leaves_at_once_loads_nothing_heavy(argv: list[str], tmp_path: Path) -> None:
    code = (
        "import os, devml_git.hook as h\n"
        "h.command_of = lambda pid: ['git', 'checkout', 'main']\n"
        f"assert h.main({argv!r}) == 0"
    )
    assert loaded_after(code, tmp_path) == set()


def test_recursive_hook_loads_nothing_heavy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVML_GIT_ACTIVE", "1")
    code = "import devml_git.hook as h\nassert h.main(['pre-commit']) == 0"
    assert loaded_after(code, tmp_path) == set()


# -- untrusted text ------------------------------------------------------------------------------


def test_rich_is_given_text_objects_and_no_markup() -> None:
    """A name from the repository must never be read as Rich markup."""
    tree = dict(TREES)["output"]
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "print":
            assert call.args
            assert not any(
                isinstance(a, ast.JoinedStr | ast.Constant | ast.BinOp) for a in call.args
            )
        if isinstance(call.func, ast.Name) and call.func.id == "TextColumn":
            assert any(k.arg == "markup" for k in call.keywords)


LIBRARY = [(m, t) for m, t in TREES if FLOOR_OF[m] < 3 and m != "output"]


@pytest.mark.parametrize(("module", "tree"), LIBRARY, ids=[m for m, _ in LIBRARY])
def test_the_library_prints_nothing_and_never_exits(module: str, tree: ast.AST) -> None:
    names = [
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]
    assert not {"print", "exit", "quit", "input"} & set(names)
    assert "sys.exit" not in ast.unparse(tree), module


@pytest.mark.parametrize("family", FAMILIES)
def test_family_of_commands_has_what_the_table_says(family: str) -> None:
    """A command line imports its own family only, by this table."""
    for name in FAMILIES[family]:
        found = typer.main.get_command(build(name)).commands
        assert tuple(found) == FAMILIES[family]


def test_every_family_of_commands_is_in_the_table() -> None:
    registering = {
        module.removeprefix("cli.")
        for module, tree in TREES
        if module.startswith("cli.")
        for node in ast.walk(tree)
        if getattr(node, "name", "") == "register"
    }
    assert registering == set(FAMILIES)
    whole = typer.main.get_command(build()).commands
    assert list(whole) == [name for names in FAMILIES.values() for name in names]
    assert list(typer.main.get_command(build("unknown")).commands) == list(whole)
