"""Programs and modules planted where a shell, git or Python might look for them."""

from __future__ import annotations

from tests.hostile.builder import Hostile, template

MODULES = ("sitecustomize", "usercustomize", "devml_git", "json", "yaml", "dvc", "hashlib", "devml_git/hook",
           "encodings/evil")  # fmt: skip
PROGRAMS = ("git", "sh", "cat", "python", "python3", "ssh", "devml-git", "grep", "cmp", "mv", "sed", "tail",
            "env", "dvc")  # fmt: skip
# As `PYTHONPATH=$PYTHONPATH:/x` leaves it: the empty element is the directory where git runs hooks
EMPTY = {"PYTHONPATH": ":/nonexistent"}
DOT = {"PYTHONPATH": "."}


def _modules(it: Hostile) -> None:
    for name in MODULES:
        it.program(f"{name}.py", python=True)
    it.program("rich/__init__.py", python=True)
    it.commit()


@template("git-commit git-diff git-checkout git-checkout-back status", arrival="pull")
def modules_here(it: Hostile) -> None:
    _modules(it)


@template("git-commit git-diff", arrival="pull", for_git=EMPTY)
def modules_and_empty_path(it: Hostile) -> None:
    _modules(it)


@template("git-commit git-diff", arrival="pull", for_git=DOT)
def modules_and_dot_path(it: Hostile) -> None:
    _modules(it)


@template("git-commit git-diff", arrival="pull", for_git={"PYTHONSTARTUP": "json.py", "PYTHONHOME": "",
                                                          "PYTHONUSERBASE": "."})  # fmt: skip
def modules_and_other_settings(it: Hostile) -> None:
    for name in ("usercustomize", "sitecustomize"):
        it.program(f"lib/python3.{it.world.minor}/site-packages/{name}.py", python=True)
    _modules(it)


def _programs(it: Hostile) -> None:
    for name in PROGRAMS:
        it.program(name)
    it.commit()


@template("git-commit status git-push", arrival="pull", env={"PATH": ":{PATH}"})
def programs_and_empty_path(it: Hostile) -> None:
    _programs(it)


@template("git-commit status git-push", arrival="pull", env={"PATH": ".:{PATH}"})
def programs_and_dot_path(it: Hostile) -> None:
    _programs(it)


@template("git-commit show", arrival="pull", env={"PATH": "bin:{PATH}:"})
def programs_and_relative_path(it: Hostile) -> None:
    for name in PROGRAMS:
        it.program(f"bin/{name}")
    it.commit()


@template("git-commit git-checkout status")
def hooks_in_the_tree(it: Hostile) -> None:
    for base in (".husky", ".githooks", "hooks", ".git-hooks", "_hooks"):
        for event in ("pre-commit", "post-checkout", "post-merge", "pre-push", "post-commit"):
            it.program(f"{base}/{event}")
    it.write(
        "lefthook.yml", f"pre-commit:\n  commands:\n    a: {{run: {it.command('lefthook')}}}\n"
    )
    it.write(".pre-commit-config.yaml", "repos: []\n")
    it.write(
        ".gitconfig", f'[core]\n fsmonitor = "{it.command("gitconfig")}"\n hooksPath = hooks\n'
    )
    it.write(".lfsconfig", "[lfs]\n url = http://127.0.0.1:9/x\n")
    it.commit()


@template("git-diff git-commit diff", arrival="pull")
def attributes_name_drivers(it: Hostile) -> None:
    """Ours for files that are none of ours, and others for ours."""
    it.write(".gitattributes", "* diff=devml merge=devml filter=devml\n*.dvc diff=evil filter=evil merge=evil\n"
                               "*.py diff=devml-pointer merge=devml-pointer -text\n*.enc working-tree-encoding=UTF-99\n"
                               "*.dvc ident export-subst eol=crlf text\n")  # fmt: skip
    it.write("b.dvc", "\x1b]0;x\x07")
    it.write("c.dvc", b"\xff\xfe\x00")
    it.commit()


@template("git-diff diff", arrival="pull")
def attributes_of_every_driver(it: Hostile) -> None:
    """`git diff` over files that a driver of ours was never meant for."""
    drivers = (
        "devml",
        "devml-git",
        "dvc",
        "devml-dvc",
        "devml-lock",
        "devml-notebook",
        "devml-table",
    )
    it.write(
        ".gitattributes", "".join(f"f{n}.* diff={d} merge={d}\n" for n, d in enumerate(drivers))
    )
    for n in range(len(drivers)):
        it.write(f"f{n}.txt", "a: &a [*a]\n" + "\x1b[31m" * 5)
        it.write(f"f{n}.bin", bytes(range(256)))
    it.commit()


@template("status git-checkout fetch")
def modules_of_git(it: Hostile) -> None:
    it.write(".gitmodules", '[submodule "../../x"]\n path = sub\n url = ext::sh -c x\n'
                            f'[submodule "b"]\n path = ../victim\n url = --upload-pack={it.command("sub")}\n'
                            f' update = !{it.command("update")}\n')  # fmt: skip
    it.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    it.git("add", ".gitmodules")
    it.git("commit", "-qm", "sub")


@template("status show fetch")
def nested_repositories(it: Hostile) -> None:
    """A bare repository in the tree, with a configuration that runs programs."""
    bare = (
        f'[core]\n bare = true\n repositoryformatversion = 0\n fsmonitor = "{it.command("bare")}"\n'
    )
    for base in ("bare", "models/bare"):
        it.write(f"{base}/config", bare)
        it.write(f"{base}/HEAD", "ref: refs/heads/main\n")
        it.write(f"{base}/objects/.keep", "")
        it.write(f"{base}/refs/.keep", "")
        it.write(f"{base}/.dvc/config", "[core]\n")
    it.commit()
