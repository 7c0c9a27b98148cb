"""Beside the real husky, pre-commit framework and git-lfs, installed before us and after us."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from devml_git import installer
from tests.world import CommandFailed, Project, run

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS = ["before us", "after us"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where hooks of others leave their lines."""
    place = tmp_path / "out"
    monkeypatch.setenv("OUT", str(place))
    monkeypatch.setenv("MINE", "env")
    return place


def said(out: Path) -> list[str]:
    """Return the lines left since the last call."""
    lines = out.read_text().splitlines() if out.exists() else []
    out.unlink(missing_ok=True)
    return lines


def hooks(project: Project) -> dict[str, bytes]:
    """Return every hook that lies in a place of git's or husky's, and whether it may run."""
    top = project.path
    files = [p for d in (".git/hooks", ".husky", ".husky/_") for p in (top / d).glob("*")]
    return {
        str(p.relative_to(top)): p.read_bytes() + (b"x" if os.access(p, os.X_OK) else b"-")
        for p in files if p.is_file()
    }  # fmt: skip


def all_ours(project: Project) -> bool:
    listed = project.devml("hooks", "status", "--json").json["hooks"]
    healthy = "fail  hooks" not in project.devml("doctor", check=False).out
    assert healthy is all(h["state"] == "ours" for h in listed)
    return healthy


def both_fire(project: Project, out: Path, theirs: dict[str, int]) -> None:
    """Commit, amend, check out and merge: we keep the model in step, and each of theirs ran."""
    said(out)
    project.differential = False
    project.write("models/a.pt", "one")
    project.commit("one")
    assert project.show("HEAD", "models/a.pt.dvc")
    project.git("checkout", "-q", "-b", "other")
    project.write("models/a.pt", "two")
    project.write("other.py", "two")
    project.commit("two")
    project.git("commit", "-q", "--amend", "-m", "amended")
    project.git("checkout", "-q", "main")
    assert project.read("models/a.pt") == "one"
    project.git("merge", "-q", "other")
    assert project.read("models/a.pt") == "two"
    project.git("reset", "-q", "--hard", "HEAD~1")
    assert project.read("models/a.pt") == "one"
    assert project.in_step()
    project.differential = True
    project.agree()
    lines = [line.split()[0] for line in said(out)]
    assert {event: lines.count(event) for event in theirs} == theirs


RUNS = {"pre-commit": 3, "post-commit": 3, "post-checkout": 2, "post-merge": 1, "post-rewrite": 1}


# -- the pre-commit framework ----------------------------------------------------------------------


@pytest.fixture
def framework(project: Project, out: Path) -> Callable[..., str]:
    return framework_of(project)


def framework_of(project: Project) -> Callable[..., str]:
    """Return what runs the framework; its hooks leave their stage and what it tells them."""
    if importlib.util.find_spec("pre_commit") is None:
        pytest.skip("not installed: pre-commit (PyPI)")
    entry = (
        'sh -c "echo \\"$STAGE $PRE_COMMIT_CHECKOUT_TYPE $MINE\\" >> \\"$OUT\\"; exit ${CODE:-0}"'
    )
    lines = ["repos:", "- repo: local", "  hooks:"]
    for event in RUNS:
        lines += [
            f"  - id: {event}", f"    name: {event}", "    language: system",
            f"    entry: env STAGE={event} {entry}", "    always_run: true",
            "    pass_filenames: false", f"    stages: [{event}]",
        ]  # fmt: skip
    project.write(".pre-commit-config.yaml", "\n".join(lines) + "\n")
    project.commit("the framework's configuration")

    def call(*args: str) -> str:
        if args[0] in {"install", "uninstall"}:
            args += tuple(word for event in RUNS for word in ("-t", event))
        return run(sys.executable, "-m", "pre_commit", *args, cwd=project.path).out

    return call


@pytest.fixture
def without(project: Project) -> bytes:
    """The project without hooks of ours, but with one that was always there."""
    project.devml("hooks", "uninstall")
    place = project.path / ".git/hooks/post-merge"
    place.write_text('#!/bin/sh\necho "always there" >> "$OUT"\n')
    place.chmod(0o755)
    return place.read_bytes()


@pytest.mark.parametrize("order", ORDERS)
def test_s3_framework(
    project: Project, out: Path, without: bytes, framework: Callable[..., str], order: str
) -> None:
    if order == "before us":
        framework("install")
        before = hooks(project)
        project.devml("hooks", "install")
    else:
        project.devml("hooks", "install")
        framework("install")
        before = {}
    assert all_ours(project)
    assert project.devml("hooks", "install").out == "all hooks are in place\n"
    both_fire(project, out, {**RUNS, "always": 1})
    project.devml("hooks", "uninstall")
    if before:
        assert hooks(project) == before
    assert not [name for name in hooks(project) if "devml" in name]
    assert (project.path / ".git/hooks/post-merge.legacy").read_bytes() == without
    framework("uninstall")
    assert hooks(project) == {".git/hooks/post-merge": without + b"x"}


def test_s3_framework_is_told_of_the_checkout_and_its_failure_counts(
    project: Project, out: Path, framework: Callable[..., str]
) -> None:
    framework("install")
    said(out)
    project.git("checkout", "-q", "-b", "x")
    assert said(out) == ["post-checkout 1 env"]
    env = {"CODE": "3"}
    assert project.git("commit", "--allow-empty", "-m", "x", env=env, check=False).status == 1
    project.devml("hooks", "install")
    assert project.git("commit", "--allow-empty", "-m", "x", env=env, check=False).status == 1
    project.write("big.bin", bytes(20_000_000))
    project.git("add", "big.bin")
    ran = project.git("commit", "-m", "ours fails, too", check=False)
    assert ran.status == 1
    assert "too large for git itself" in ran.err


@pytest.mark.parametrize("order", ORDERS)
def test_s3_framework_that_goes_leaves_ours_working(
    project: Project, out: Path, framework: Callable[..., str], order: str
) -> None:
    if order == "before us":
        project.devml("hooks", "uninstall")
        framework("install")
        project.devml("hooks", "install")
    else:
        framework("install")
    framework("uninstall")
    assert all_ours(project)
    left = 1 if order == "before us" else 0  # its own uninstall finds only what stands in front
    both_fire(project, out, {event: n * left for event, n in RUNS.items()})


@pytest.mark.parametrize("force", [(), ("-f",)], ids=["", "-f"])
def test_s3_framework_installed_before_us_and_again_after_us_runs_once(
    project: Project, out: Path, without: bytes, framework: Callable[..., str], force: tuple[str]
) -> None:
    framework("install")
    project.devml("hooks", "install")
    framework("install", *force)
    assert all_ours(project) is not bool(force)
    project.devml("hooks", "install")
    assert all_ours(project)
    both_fire(project, out, RUNS)
    project.devml("hooks", "uninstall")
    framework("uninstall")
    assert not [name for name in hooks(project) if "devml" in name]


def test_s3_shim_in_front_of_the_framework_in_front_of_the_shim_runs_once(
    project: Project, out: Path, framework: Callable[..., str]
) -> None:
    framework("install")
    before = questions(project)
    place = project.path / ".git/hooks"
    for event in RUNS:  # as somebody might who copies files
        (place / event).rename(place / f"{event}.before-devml")
        shutil.copy(place / f"{event}.legacy", place / event)
    assert all_ours(project)
    assert questions(project) == before
    both_fire(project, out, RUNS)
    project.devml("hooks", "uninstall")
    framework("uninstall")
    assert hooks(project) == {}


def test_s3_framework_in_front_of_an_outdated_shim(
    project: Project, out: Path, framework: Callable[..., str]
) -> None:
    framework("install")
    place = project.path / ".git/hooks/pre-commit.legacy"
    place.write_bytes(place.read_bytes() + b"# old\n")
    assert not all_ours(project)
    assert project.devml("hooks", "install").out == "installed: pre-commit\n"
    assert place.read_bytes() == installer.shim_bytes()
    both_fire(project, out, RUNS)


def questions(project: Project) -> int:
    """Return how often our shims ask git about the pointers in one commit."""
    ran = project.git("commit", "--allow-empty", "-m", "x", env={"GIT_TRACE": "1"})
    return ran.err.count("ls-files -s -- ")


@pytest.mark.parametrize("order", ORDERS)
def test_s3_framework_puts_unstaged_changes_away_and_artifacts_stay(
    models: Project, out: Path, order: str
) -> None:
    project = models
    if order == "before us":
        project.devml("hooks", "uninstall")
    framework = framework_of(project)
    framework("install")
    project.devml("hooks", "install")
    project.write("models/a.pt", "trained")
    project.devml("snapshot")
    project.git("reset", "-q", "--", "models/a.pt.dvc")  # a pointer that is not staged
    assert project.porcelain() == " M models/a.pt.dvc\n"
    project.write("train.py", "staged")
    project.git("add", "train.py")
    project.write("train.py", "not staged")
    project.write("data/new.csv", "new")
    ran = run("git", "commit", "-m", "some", cwd=project.path)
    assert "Unstaged files detected" in ran.err
    assert project.read("models/a.pt") == "trained"
    assert project.read("train.py") == "not staged"
    assert project.show("HEAD", "train.py") == "staged"
    assert project.in_step()
    assert "".join(project.porcelain()) == " M train.py\n"
    project.git("commit", "-qam", "rest")
    project.git("checkout", "-q", "HEAD~2")
    project.git("checkout", "-q", "main")
    assert project.read("models/a.pt") == "trained"
    assert project.read("data/new.csv") == "new"


@pytest.mark.parametrize("order", ORDERS)
def test_s3_framework_and_a_commit_of_paths(models: Project, out: Path, order: str) -> None:
    if order == "before us":
        models.devml("hooks", "uninstall")
    framework_of(models)("install")
    models.devml("hooks", "install")
    partial_commit(models)


def partial_commit(project: Project) -> None:
    """post-commit knows the commit by git's process id, whoever stands between."""
    project.write("models/a.pt", "trained")
    project.write("train.py", "changed")
    project.git("commit", "-qm", "one file", "--", "train.py")
    assert project.porcelain() == ""
    project.git("commit", "-q", "--allow-empty", "-m", "empty")
    assert project.git("diff", "--stat", "HEAD~1", "HEAD").out == ""
    assert project.in_step()
    project.write("models/a.pt", "not committed")
    ran = project.git("commit", "-q", "--allow-empty", "--no-verify", "-m", "unverified")
    assert "this commit does not have what lies there of models/a.pt" in ran.err


@pytest.mark.parametrize("with_shim", [False, True], ids=["", "and our hooks"])
def test_framework_runs_our_hooks_that_the_manifest_offers(
    project: Project, with_shim: bool
) -> None:
    """As `repo: https://...` would, but for the environment that it would download."""
    if importlib.util.find_spec("pre_commit") is None:
        pytest.skip("not installed: pre-commit (PyPI)")
    manifest = REPOSITORY / ".pre-commit-hooks.yaml"
    call = (sys.executable, "-m", "pre_commit")
    run(*call, "validate-manifest", manifest, cwd=REPOSITORY)
    offered = YAML(typ="safe").load(manifest)
    events = [hook["id"].removeprefix("devml-git-") for hook in offered]
    assert set(events) == set(installer.EVENTS) - {"post-applypatch", "post-index-change"}
    local = [{**hook, "language": "system"} for hook in offered]
    project.write(
        ".pre-commit-config.yaml", json.dumps({"repos": [{"repo": "local", "hooks": local}]})
    )
    project.devml("hooks", "uninstall")
    types = [word for event in events for word in ("-t", event)]
    run(*call, "install", *types, cwd=project.path)
    if with_shim:
        project.devml("hooks", "install")
    for n in ("one", "two"):
        project.write("models/a.pt", n)
        project.commit(n)
        assert project.in_step()
        assert project.porcelain() == ""
    project.git("checkout", "-q", "HEAD~1")
    assert project.read("models/a.pt") == "one"
    project.git("checkout", "-q", "main")
    project.write("models/a.pt", "three")
    project.write("code.py", "three")
    project.git("add", "code.py")
    project.git("commit", "-qm", "one file", "--", "code.py")
    assert project.show("HEAD", "models/a.pt.dvc") == project.read("models/a.pt.dvc")
    assert project.porcelain() == ""
    store = project.path.parent / "store"
    project.dvc("remote", "add", "--local", "-q", "-d", "store", str(store))
    run("git", "init", "-q", "--bare", "../bare", cwd=project.path)
    project.git("push", "-q", "../bare", "main")
    held = {p.parent.name + p.name for p in store.rglob("*") if p.is_file()}
    assert held == set(project.objects()), "every commit's, not only the last one's"
    project.write("big.bin", bytes(20_000_000))
    project.git("add", "big.bin")
    assert project.git("commit", "-m", "large", check=False).status == 1


# -- husky -----------------------------------------------------------------------------------------


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Make a directory once in a session, whichever of its processes comes first."""
    base = factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / name).exists():
            make(base / f"{name}.new")
            (base / f"{name}.new").rename(base / name)
    return base / name


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Install a package from the npm registry, once in a session."""
    if shutil.which("npm") is None:
        pytest.skip("not installed: npm (Debian: nodejs npm)")

    def install(package: str) -> Path:
        def make(place: Path) -> None:
            place.mkdir()
            quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts",
                     "--fetch-retries", "1", "--fetch-retry-mintimeout", "1000")  # fmt: skip
            options = (*quiet, "--cache", tmp_path_factory.mktemp("npm"), "--prefix", place)
            # npm brings certificates of its own, and knows none of this system's
            env = {"NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt", **os.environ}
            try:
                run("npm", "install", *options, package, cwd=place, env=env)
            except CommandFailed as error:
                (place / "unreachable").write_text(str(error))

        place = once(tmp_path_factory, package, make)
        if (place / "unreachable").exists():
            pytest.skip(f"npm's registry: {(place / 'unreachable').read_text()[-200:]}")
        return place / "node_modules"

    return install


@pytest.fixture
def husky(project: Project, npm: Callable[[str], Path]) -> Callable[[], None]:
    """Put husky 9 into the project, as `npm install husky` does, and return what starts it."""
    return husky_of(project, npm("husky@9"), "husky")


def husky_of(project: Project, modules: Path, prepare: str) -> Callable[[], None]:
    shutil.copytree(modules, project.path / "node_modules", symlinks=True)
    with (project.path / ".gitignore").open("a") as f:
        f.write("/node_modules/\n")
    project.write("package.json", f'{{"scripts": {{"prepare": "{prepare}"}}}}\n')
    project.commit("package.json")

    def start() -> None:
        run("npm", "run", "--silent", "--no-update-notifier", "prepare", cwd=project.path)

    return start


def huskys_own(project: Project) -> dict[str, bytes]:
    """Write hooks as husky's users do: no shebang and not executable, one of them both."""
    for event in RUNS:
        stdin = "; cat >> $OUT" if event == "post-rewrite" else ""
        project.write(f".husky/{event}", f'echo "{event} $* $MINE" >> "$OUT"{stdin}\n')
    place = project.write(".husky/post-merge", '#!/bin/sh\necho "post-merge $*" >> "$OUT"\n')
    place.chmod(0o755)
    return hooks(project)


@pytest.mark.parametrize("order", ORDERS)
def test_s3_husky(project: Project, out: Path, husky: Callable[[], None], order: str) -> None:
    if order == "before us":
        project.devml("hooks", "uninstall")
    husky()
    before = {k: v for k, v in huskys_own(project).items() if ".git/hooks" not in k}
    if order == "after us":
        doctor = project.devml("doctor", check=False)
        assert doctor.status == 1
        assert "core.hooksPath is set" in doctor.out
        assert "core.hooksPath is set" in project.devml("hooks", "status").err
        assert project.devml("hooks", "status", "--json").json["overlooked"].endswith(".git/hooks")
    project.devml("hooks", "install")
    assert project.devml("hooks", "install").out == "all hooks are in place\n"
    project.commit("hooks in the tree")
    both_fire(project, out, RUNS)
    husky()
    assert all_ours(project)
    assert str(project.path) not in project.read(".husky/pre-commit")
    project.devml("hooks", "uninstall")
    assert hooks(project) == before


def test_s3_huskys_hooks_get_arguments_environment_and_stdin_and_may_fail(
    project: Project, out: Path, husky: Callable[[], None]
) -> None:
    husky()
    huskys_own(project)
    project.write(".husky/pre-commit", 'test "$CODE" != 3\necho "pre-commit ran" >> "$OUT"\n')
    project.devml("hooks", "install")
    project.commit("hooks in the tree")
    said(out)
    before = project.head()
    project.git("checkout", "-q", "-b", "x")
    assert said(out) == [f"post-checkout {before} {before} 1 env"]
    project.git("commit", "-q", "--amend", "-m", "again")
    lines = said(out)
    assert "post-rewrite amend env" in lines
    assert f"{before} {project.head()}" in lines
    # stopped by `sh -e` alone
    env = {"CODE": "3"}
    assert project.git("commit", "--allow-empty", "-m", "x", env=env, check=False).status == 1
    assert said(out) == []
    project.write("big.bin", bytes(20_000_000))
    project.git("add", "big.bin")
    ran = project.git("commit", "-m", "ours fails, too", check=False)
    assert ran.status == 1
    assert "too large for git itself" in ran.err


def test_s3_husky_made_anew_in_a_clone_lacks_one_hook_and_doctor_tells(
    project: Project, husky: Callable[[], None]
) -> None:
    husky()
    project.devml("hooks", "install")
    shutil.rmtree(project.path / ".husky/_")
    husky()
    doctor = project.devml("doctor", check=False)
    assert "post-index-change is not installed" in doctor.out
    assert "pre-commit is not" not in doctor.out
    project.devml("hooks", "install")
    assert all_ours(project)


def test_s3_husky_and_a_commit_of_paths(models: Project, npm: Callable[[str], Path]) -> None:
    husky_of(models, npm("husky@9"), "husky")()
    models.devml("hooks", "install")
    models.commit("hooks in the tree")
    partial_commit(models)


def test_s3_husky_8(project: Project, out: Path, npm: Callable[[str], Path]) -> None:
    project.devml("hooks", "uninstall")
    husky_of(project, npm("husky@8"), "husky install")()
    for event in RUNS:
        line = f'echo "{event} $* $MINE" >> "$OUT"'
        run("node_modules/.bin/husky", "add", f".husky/{event}", line, cwd=project.path)
    before = hooks(project)
    project.devml("hooks", "install")
    project.commit("hooks in the tree")
    both_fire(project, out, RUNS)
    project.devml("hooks", "uninstall")
    assert hooks(project) == before


# -- git-lfs ---------------------------------------------------------------------------------------


@pytest.fixture
def lfs(project: Project) -> Callable[..., int]:
    """Run git-lfs; return its exit status."""
    if shutil.which("git-lfs") is None:
        pytest.skip("not installed: git-lfs")
    return lambda *args: run("git", "lfs", *args, cwd=project.path, check=False).status


def lfs_file_survives(project: Project) -> None:
    """A file in git-lfs and one in DVC: each comes back with its commit."""
    project.write(".gitattributes", "*.psd filter=lfs diff=lfs merge=lfs -text\n")
    for n in ("one", "two"):
        project.write("art.psd", n)
        project.write("models/a.pt", n)
        project.commit(n)
    assert project.show("HEAD", "art.psd").startswith("version https://git-lfs")
    for rev, n in (("HEAD~1", "one"), ("main", "two")):
        project.git("checkout", "-q", rev)
        assert (project.read("art.psd"), project.read("models/a.pt")) == (n, n)
    assert project.in_step()
    assert project.porcelain() == ""


def test_s3_lfs_before_us(project: Project, lfs: Callable[..., int]) -> None:
    project.devml("hooks", "uninstall")
    assert lfs("install") == 0
    before = hooks(project)
    assert before
    project.devml("hooks", "install")
    assert all_ours(project)
    lfs_file_survives(project)
    # with a trace, git-lfs says which of its hooks ran
    env = {"GIT_TRACE": "1"}
    assert "lfs post-checkout" in project.git("checkout", "-q", "-b", "x", env=env).err
    assert "lfs post-commit" in project.git("commit", "--allow-empty", "-m", "x", env=env).err
    project.devml("hooks", "uninstall")
    assert hooks(project) == before


def test_s3_lfs_after_us(project: Project, lfs: Callable[..., int]) -> None:
    ours = hooks(project)
    assert lfs("install") != 0
    assert {name: hooks(project)[name] for name in ours} == ours
    lfs_file_survives(project)
    assert lfs("update", "--force") == 0
    theirs = hooks(project)
    assert not all_ours(project)
    assert (
        project.devml("hooks", "install").out
        == "installed: post-commit, post-checkout, post-merge, pre-push\n"
    )
    assert all_ours(project)
    env = {"GIT_TRACE": "1"}
    assert "lfs post-commit" in project.git("commit", "--allow-empty", "-m", "x", env=env).err
    lfs_file_survives(project)
    assert lfs("update", "--force") == 0  # the same bytes that are chained already
    project.devml("hooks", "install")
    assert all_ours(project)
    project.devml("hooks", "uninstall")
    only_ours = {f".git/hooks/{event}" for event in installer.EVENTS} - {
        f".git/hooks/{name}" for name in ("post-commit", "post-checkout", "post-merge", "pre-push")
    }
    assert hooks(project) == {k: v for k, v in theirs.items() if k not in only_ours}
