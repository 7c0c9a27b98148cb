"""What lies in the worktree is neither imported nor run, whatever PYTHONPATH and PATH say."""

from __future__ import annotations

import ast
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import devml_git
from devml_git import installer, isolation
from devml_git.attributes import _SETTINGS
from tests.world import Project, Ran, devml, run

if TYPE_CHECKING:
    from tests.world import Shelf

PACKAGE = Path(devml_git.__file__).parent
GIT = shutil.which("git") or "git"
MODULES = (
    "__future__", "contextlib", "dataclasses", "devml_git", "json", "os", "re", "sitecustomize",
    "sqlite3", "subprocess", "typer", "typing", "usercustomize",
)  # fmt: skip
PROGRAMS = (
    "awk", "cat", "cmp", "cp", "devml-git", "dvc", "git", "git-merge-file", "grep", "less", "mv", "ps",
    "python", "python3", "rm", "sed", "sh", "ssh", "tail", "true",
)  # fmt: skip
# What a shell's start-up file may well make of these two
ENVIRONMENTS = {
    "empty": {"PYTHONPATH": ":/x", "PATH": ":{}"},
    "dot": {"PYTHONPATH": ".", "PATH": ".::{}:"},
    "relative": {"PYTHONPATH": "lib:./lib", "PATH": "bin:./bin:lib/../bin:{}"},
}


def plant(top: Path) -> Path:
    """Put modules and programs into a worktree, each of which leaves a line in what is returned."""
    canary = top.parent / "canary"
    module = f"with open({str(canary)!r}, 'a') as f: f.write(__file__ + '\\n')\n"
    program = f'#!/bin/sh\necho "$0" >>{canary}\nexit 1\n'
    for place in (top, top / "lib", top / "bin"):
        place.mkdir(exist_ok=True)
        for name in MODULES:
            (place / f"{name}.py").write_text(module)
        (place / "evil.pth").write_text(f"import os; open({str(canary)!r}, 'a').write('pth')\n")
        (place / "devml_git").mkdir(exist_ok=True)
        (place / "devml_git/__init__.py").write_text(module)
        for name in PROGRAMS:
            (place / name).write_text(program)
            (place / name).chmod(0o755)
    return canary


def environment(name: str) -> dict[str, str]:
    return {k: v.format(os.environ["PATH"]) for k, v in ENVIRONMENTS[name].items()}


def git(p: Project, *args: str, env: dict[str, str], check: bool = True) -> Ran:
    """Run git itself, not what PATH says."""
    return run(GIT, *args, cwd=p.path, env=env, check=check)


@pytest.fixture
def grown(shelf: Shelf, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """v1 to v3, a branch `side` at v2 that changed data/ too, a DVC remote, and what is planted."""

    def make() -> Project:
        p: Project = request.getfixturevalue("models")
        p.differential = False
        p.git("checkout", "-q", "-b", "side", "v2")
        p.write("data/of-side", "side")
        p.commit("side")
        p.git("checkout", "-q", "main")
        plant(p.path)
        p.git("add", "-A", "-f", "lib", "bin", *(f"{n}.py" for n in MODULES), *PROGRAMS)
        p.git("commit", "-qm", "planted")
        return p

    project = shelf.copy("isolation", make, tmp_path / "grown")
    project.differential = False
    store = tmp_path / "store"
    for words in (
        ["remote", "add", "--local", "-d", "store", str(store)],
        ["push", "--all-commits"],
    ):
        run(sys.executable, "-P", "-m", "dvc", *words, "-q", cwd=project.path)
    run("git", "clone", "-q", "--bare", str(project.path), str(tmp_path / "bare.git"), cwd=tmp_path)
    project.git("remote", "add", "origin", str(tmp_path / "bare.git"))
    project.devml("trust")
    return project


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_hooks_and_drivers_import_and_run_nothing_of_the_worktree(
    grown: Project, tmp_path: Path, name: str
) -> None:
    env, canary = environment(name), plant(grown.path)
    grown.write("models/a.pt", "edited")
    grown.write("data/part1.csv", "edited")
    git(grown, "commit", "-qam", "edited", "--allow-empty", env=env)
    assert "\n+md5 " in git(grown, "diff", "HEAD~1", env=env).out
    git(grown, "push", "-q", "origin", "main", env=env)
    git(grown, "merge", "-q", "-m", "m", "side", env=env)
    assert (grown.read("data/of-side"), grown.read("data/part1.csv")) == ("side", "edited")
    git(grown, "reset", "-q", "--hard", "HEAD~1", env=env)
    git(grown, "checkout", "-q", "-b", "topic", "HEAD~1", env=env)
    grown.write("models/b.pt", "new")
    git(grown, "commit", "-qm", "new", "--allow-empty", env=env)
    git(grown, "rebase", "-q", "main", env=env)
    patch = tmp_path / "patch"
    patch.write_text(git(grown, "format-patch", "--stdout", "-1", env=env).out)
    git(grown, "reset", "-q", "--hard", "HEAD~1", env=env)
    git(grown, "am", "-q", str(patch), env=env)
    assert grown.read("models/b.pt") == "new"
    assert grown.in_step()
    assert not canary.exists(), canary.read_text()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_a_hook_fetches_by_itself_imports_nothing_of_the_worktree(
    grown: Project, name: str
) -> None:
    env, canary = environment(name), plant(grown.path)
    shutil.rmtree(grown.cache)
    git(grown, "checkout", "-q", "-f", "v1", env=env)
    assert grown.read("models/a.pt") == "weights 1\n" * 50
    shutil.rmtree(grown.cache)
    git(grown, "checkout", "-q", "-f", "-b", "other", "v3", env=env)
    plant(grown.path)
    shutil.rmtree(grown.cache)
    ran = git(grown, "merge", "-m", "m", "side", env=env, check=False)  # it fetches three manifests
    assert (ran.status, grown.listing("data")["of-side"]) == (0, b"side"), ran.err
    assert not canary.exists(), canary.read_text()


def test_hook_of_somebody_else_runs_with_the_users_own_path(grown: Project) -> None:
    plant(grown.path)
    hook = grown.path / ".git/hooks/pre-commit"
    hook.with_name("pre-commit.before-devml").write_text('#!/bin/sh\n/bin/echo "$PATH" >seen\n')
    hook.with_name("pre-commit.before-devml").chmod(0o755)
    env = environment("dot")
    git(grown, "commit", "-q", "--allow-empty", "-m", "x", env=env)
    assert grown.read("seen").rstrip("\n").endswith(env["PATH"])


def test_fallback_takes_no_command_of_the_worktree(grown: Project, tmp_path: Path) -> None:
    canary = plant(grown.path)
    grown.git("config", "devml.python", "/nowhere/python")
    grown.write("models/a.pt", "edited")
    link = tmp_path / "link"
    link.symlink_to(grown.path)
    for first in (".", "bin", "", str(grown.path / "bin"), str(link / "bin")):
        env = {"PATH": f"{first}:/usr/bin:/bin"}
        ran = git(grown, "commit", "-q", "--allow-empty", "-m", "x", env=env)
        assert "devml-git: not found" in ran.err
    seen = canary.read_text() if canary.exists() else ""
    assert "devml-git" not in seen  # an absolute element is the user's, but for us


def test_fallback_imports_nothing_of_the_worktree(grown: Project) -> None:
    canary = plant(grown.path)
    grown.git("config", "devml.python", "/nowhere/python")
    for path in (":/x", ".", str(grown.path), f"{grown.path}/lib:/x"):
        grown.write("models/a.pt", f"edited {path}")
        env = {"PYTHONPATH": path}
        git(grown, "commit", "-q", "--allow-empty", "-m", "x", env=env)
        assert grown.in_step()
    assert not canary.exists(), canary.read_text()


@pytest.mark.parametrize("python", ["./python", "python", "/nowhere/python"])
def test_without_an_interpreter_nothing_of_the_worktree_stands_in(
    grown: Project, python: str
) -> None:
    env, canary = environment("dot"), plant(grown.path)
    grown.git("config", "devml.python", python)
    assert "\n+- md5: " in git(grown, "diff", "v1", "v2", "--", "*.pt.dvc", env=env).out
    grown.write("models/a.pt", "edited")
    git(grown, "commit", "-q", "--allow-empty", "-m", "x", env=env)
    git(grown, "merge", "-m", "m", "side", env=env, check=False)
    assert not canary.exists(), canary.read_text()


# -- where we are installed ----------------------------------------------------------------------


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Our package in one directory, as a wheel has it, and all that it needs in another."""
    base = tmp_path_factory.mktemp("packages")
    ours, others = base / "ours", base / "others"
    shutil.copytree(PACKAGE, ours / "devml_git", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parent / "hooks", ours / "devml_git/_hooks")
    others.mkdir()
    for place in site.getsitepackages():
        for entry in Path(place).iterdir():
            if entry.suffix != ".pth" and "devml_git" not in entry.name:
                (others / entry.name).symlink_to(entry)
    return ours, others


def without_venv() -> str:
    """Return a Python that has none of all this."""
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """`devml-git` as pip writes it for that Python."""
    script = tmp_path / "scripts" / "devml-git"
    script.parent.mkdir()
    lines = [
        f"#!{without_venv()}",
        "import sys",
        "from devml_git.cli import main",
        "sys.exit(main())",
    ]
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return script


def user_site(base: Path, packages: tuple[Path, Path]) -> dict[str, str]:
    place = base / "user" / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    shutil.copytree(packages[0], place)
    for entry in packages[1].iterdir():
        (place / entry.name).symlink_to(entry.resolve())
    return {"PYTHONUSERBASE": str(base / "user")}


def python_path(_: Path, packages: tuple[Path, Path]) -> dict[str, str]:
    return {"PYTHONPATH": f":{packages[0]}:{packages[1]}:."}


@pytest.mark.parametrize("way", [user_site, python_path])
def test_installed_beside_the_interpreter_keeps_its_hooks(
    tmp_path: Path, packages: tuple[Path, Path], command: Path, way: object
) -> None:
    env = way(tmp_path, packages)  # type: ignore[operator]
    p = Project(tmp_path / "project", differential=False)
    p.path.mkdir()
    run("git", "init", "-q", cwd=p.path)
    run(command, "init", "--track", "models/**", cwd=p.path, env=env)
    recorded = run("git", "config", "devml.path", cwd=p.path).out.rstrip("\n").split(":")
    assert all(os.path.isabs(place) for place in recorded)
    assert not [place for place in recorded if place.startswith(str(p.path))]
    canary = plant(p.path)
    here = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":."}  # no command of ours, no user base
    for n in (1, 2):
        p.write("models/a.pt", f"weights {n}")
        git(p, "add", "-A", env=here)
        git(p, "commit", "-qm", f"v{n}", "--allow-empty", env=here)
    assert p.in_step()
    assert b"weights 2" in {o.read_bytes() for o in p.objects().values()}
    git(p, "checkout", "-q", "HEAD~1", env=here)
    assert p.read("models/a.pt") == "weights 1"
    assert "\n+md5 " in git(p, "show", "--", "*.dvc", env=here).out
    assert not canary.exists(), canary.read_text()
    # with an empty element in front of ours, a `devml_git.py` would be all that is ever imported
    env = {k: v.removeprefix(":").removesuffix(":.") for k, v in env.items()}
    doctor = run(command, "doctor", "--json", cwd=p.path, env=env, check=False).json["findings"]
    assert [
        f["verdict"] for f in doctor if "hooks" in f["subject"] or "driver" in f["subject"]
    ] == ["ok"] * 3


def test_typed_command_imports_nothing_of_the_worktree(
    models: Project, packages: tuple[Path, Path], command: Path
) -> None:
    canary = plant(models.path)
    # what Python imports before our first line, `sitecustomize` above all, it has imported
    loaded = run(
        without_venv(), "-c", "import sys; print(*sys.modules)", cwd=models.path.parent
    ).out
    for module in {*loaded.split(), "sitecustomize", "usercustomize"} & {*MODULES}:
        (models.path / f"{module}.py").unlink()
        (models.path / f"lib/{module}.py").unlink()
    for path in ("{}::/x", "{}:.", "{}:lib", "{}:" + str(models.path)):
        # Python looks into the elements in turn: the worktree's comes first but for our own package
        env = {"PYTHONPATH": path.format(packages[0]) + f":{packages[1]}"}
        env["PATH"] = f".:{os.environ['PATH']}"
        for asked in (["show"], ["status"], ["log", "-n", "1"]):
            ran = run(command, *asked, cwd=models.path, env=env)
            assert ran.err == ""
    assert not canary.exists(), canary.read_text()


def test_installed_inside_the_worktree_is_not_recorded(
    tmp_path: Path, packages: tuple[Path, Path], command: Path
) -> None:
    top = tmp_path / "project"
    shutil.copytree(packages[0], top / "vendor")
    run("git", "init", "-q", cwd=top)
    env = {"PYTHONPATH": f"{top}/vendor:{packages[1]}"}
    ran = run(command, "init", cwd=top, env=env, check=False)
    assert "error: devml-git itself lies in this repository, in " in ran.err
    assert "hint: install it elsewhere" in ran.err
    assert run("git", "config", "devml.python", cwd=top, check=False).out == ""


def test_doctor_tells_that_the_interpreter_does_not_find_us(
    project: Project, packages: tuple[Path, Path], tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    project.git("config", "devml.python", str(bare))

    def found() -> str:
        rows = devml("doctor", "--json", cwd=project.path).json["findings"]
        return next(r["text"] for r in rows if r["subject"] == "hooks")

    assert "does not find devml-git" in found()
    project.git("config", "devml.path", os.pathsep.join(map(str, packages)))
    assert "does not find" not in found()


def test_settings_of_an_older_version_are_told_and_mended(project: Project) -> None:
    for key in ("merge.devml.driver", "diff.devml.textconv"):
        project.git("config", key, "python -P -m devml_git.old")
    hook = project.path / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\n# devml-git hook shim 1 -- https://git-scm.com/docs/githooks\n")

    def told() -> set[str]:
        rows = devml("doctor", "--json", cwd=project.path).json["findings"]
        return {r["subject"] for r in rows if r["verdict"] != "ok" and r["subject"] != "DVC remote"}

    assert told() == {"hooks", "merge driver", "diff driver"}
    project.devml("init")
    assert told() == set()
    assert hook.read_bytes() == installer.shim_bytes()


# -- one text, one door --------------------------------------------------------------------------


def test_shim_has_the_same_program() -> None:
    assert f"program='\n{isolation.program('hook')}'\n" in installer.shim_bytes().decode()
    assert installer.shim_bytes().splitlines()[1].startswith(b"# devml-git hook shim 1 ")


def test_drivers_of_git_start_python_isolated() -> None:
    commands = [v for s in _SETTINGS.values() for v in s.values() if "$p" in v]
    assert len(commands) == 2
    assert all('"$p" -I -X utf8 -c ' in c for c in commands)


def test_no_program_is_started_with_the_path_as_it_is() -> None:
    for file in (PACKAGE / "plumbing").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {
                "subprocess.run",
                "subprocess.Popen",
            }:
                assert "env" in {k.arg for k in node.keywords}, f"{file.name}:{node.lineno}"
        assert "dict(os.environ)" not in file.read_text("utf-8") or file.name == "programs.py"


PATHS = {
    "/usr/bin:/bin": "/usr/bin:/bin",
    ":/usr/bin": "/usr/bin",
    "/usr/bin:": "/usr/bin",
    ".:/a b:bin::../x:/c": "/a b:/c",
    "": os.defpath,
    ".": os.defpath,
}


@pytest.mark.parametrize("path", PATHS)
def test_path_keeps_its_absolute_elements(path: str) -> None:
    assert isolation.absolute(path) == PATHS[path]


@pytest.mark.parametrize("path", PATHS)
def test_drivers_and_shim_keep_the_same_elements(path: str, tmp_path: Path) -> None:
    default = "/usr/bin:/bin"
    wanted = default if PATHS[path] == os.defpath else PATHS[path]
    show = _SETTINGS["diff"]["diff.devml.textconv"].split("d=$")[0].removeprefix("f() { ")
    merge = _SETTINGS["merge"]["merge.devml.driver"].split("p=$(")[0].replace("%%", "%")
    shim = installer.shim_bytes().decode()
    shim = shim[shim.index("absolute() {") : shim.index("# Whether the second line")]
    for code in (show, merge, shim):
        done = subprocess.run(
            ["/bin/sh", "-c", f'PATH="$1"; {code}\nprintf %s "$PATH"', "sh", path],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == wanted
