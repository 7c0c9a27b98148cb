"""No link of the tree is followed out of it (P9); what cannot be stored for one is named (P3).

The canary is a file outside of the repository: its text may be in no object of the cache, in nothing
that is printed, in no file of ours below `.git`, and on no remote.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from devml_git import inside, links
from devml_git.cache import Cache
from devml_git.inside import LeadsOut, read_inside, resolve
from devml_git.plumbing import Git
from devml_git.scan import scan
from tests.world import Project, devml, devml_process, run

CANARY = "canary: 9f2c"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A private file of the user's, in a directory of its own."""
    place = tmp_path / "home" / "id_rsa"
    place.parent.mkdir()
    place.write_text(f"{CANARY}\nmetric: 0.7\n")
    return place


class Said:
    """Runs commands and keeps all that they print."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.text = ""

    def __call__(self, *line: str) -> int:
        program, *words = line
        if program == "devml-git":
            ran = devml(*words, cwd=self.project.path)
        else:
            ran = run(*line, cwd=self.project.path, check=False)
        self.text += ran.out + ran.err
        assert "Traceback" not in ran.err
        return ran.status


def leaked(*places: Path) -> list[str]:
    """Return the files below these places that hold the canary's text (links are not followed)."""
    found = []
    for place in places:
        for here, _, names in os.walk(place):
            files = [Path(here) / n for n in names]
            found += [str(f) for f in files if f.is_file() and not f.is_symlink()
                      and CANARY.encode() in f.read_bytes()]  # fmt: skip
    return found


def hostile(project: Project, *ignored: str) -> None:
    """Commit all that lies there, ignored files of these names too, without our hooks."""
    project.git("add", "-A")
    project.git("add", "-f", *ignored)
    project.git("-c", "core.hooksPath=/dev/null", "commit", "-qm", "hostile")


# -- where a link leads --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("b", "d/b"),
        ("./sub/../b", "d/b"),
        ("../top", "top"),
        ("other", "d/sub/c"),  # a link to a link, over a link to a directory
        ("{root}/d/b", "d/b"),
        ("nothing", "d/nothing"),
    ],
)
def test_link_inside_is_resolved(tmp_path: Path, text: str, real: str) -> None:
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/s").symlink_to("sub")
    (tmp_path / "d/other").symlink_to("s/c")
    (tmp_path / "d/link").symlink_to(text.format(root=tmp_path))
    assert resolve(tmp_path, "d/link") == real


@pytest.mark.parametrize(
    "text", ["../../out", "/etc/passwd", "{root}x/b", "up/b", "link", "../.git/config", "../.GIT/x"]
)
def test_link_that_leads_out_is_refused(tmp_path: Path, text: str) -> None:
    root = tmp_path / "p"
    (root / "d").mkdir(parents=True)
    (root / "d/up").symlink_to("../..")
    (root / "d/link").symlink_to(text.format(root=root))
    with pytest.raises(LeadsOut, match="d/link"):
        resolve(root, "d/link")
    with pytest.raises(LeadsOut):
        read_inside(root, "d/link")


def test_link_out_of_the_directory_that_it_may_not_leave(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "database").mkdir()
    (tmp_path / "data/link").symlink_to("../database/x")
    assert resolve(tmp_path, "data/link") == "database/x"
    with pytest.raises(LeadsOut, match="out of data"):
        resolve(tmp_path, "data/link", inside="data")


def test_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(LeadsOut):
        resolve(tmp_path, "a")
    assert inside._MOST_LINKS < 100


# -- members of an artifact ----------------------------------------------------------------------


def odd(project: Project, kind: str, canary: Path) -> str:
    """Make what cannot be stored at data/odd; return the word for it."""
    place = project.path / "data/odd"
    if kind == "pipe":
        os.mkfifo(place)
        return "named pipe"
    if kind == "socket":
        before = Path.cwd()
        os.chdir(place.parent)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind("odd")
        os.chdir(before)
        return "socket"
    if kind == "broken":
        place.symlink_to("missing")
        return "a link to nothing"
    place.symlink_to(canary if kind == "file" else canary.parent)
    return "leads out of data"


KINDS = ["file", "directory", "broken", "pipe", "socket"]


@pytest.mark.parametrize("kind", KINDS)
def test_member_that_cannot_be_stored_stops_the_commit_until_it_is_left_out(
    models: Project, canary: Path, kind: str
) -> None:
    models.differential = False
    word = odd(models, kind, canary)
    models.write("data/x.csv", "edited\n")
    before = models.head()
    ran = models.git("commit", "--allow-empty", "-m", "odd", check=False)
    assert ran.status
    assert "data/odd" in ran.err
    assert word in ran.err
    assert models.head() == before
    assert models.devml("status", "--exit-code", check=False).status == 1
    assert any(word in note for note in models.status()["notes"])
    hint = next(x for x in ran.err.splitlines() if "hint:" in x)
    run("sh", "-c", hint.partition("leave it out: ")[2], cwd=models.path)
    models.git("add", ".dvcignore")
    models.git("commit", "-m", "left out")
    assert models.in_step()
    assert not leaked(models.path / ".git")


@pytest.mark.parametrize("kind", KINDS)
def test_new_directory_with_such_a_member_is_not_left_out_in_silence(
    project: Project, canary: Path, kind: str
) -> None:
    project.differential = False
    project.write("data/x.csv", "x\n")
    word = odd(project, kind, canary)
    ran = project.git("commit", "--allow-empty", "-m", "odd", check=False)
    assert ran.status
    assert word in ran.err
    assert project.devml("status", "--exit-code", check=False).status == 1


def test_many_such_members_are_counted(models: Project) -> None:
    models.differential = False
    for n in range(4):
        (models.path / f"data/l{n}").symlink_to("nowhere")
    assert "and 3 more like it" in models.devml("snapshot", check=False).err


def test_directory_that_only_a_glob_finds_is_named_and_stops_nothing(
    project: Project, canary: Path
) -> None:
    project.differential = False
    project.devml("track", "runs/*/")
    project.write("runs/a/x", "x")
    project.write("runs/b/x", "x")
    (project.path / "runs/b/key").symlink_to(canary)
    ran = project.git("commit", "-am", "runs")
    assert "runs/b/key is a link that leads out" in ran.err
    assert project.states() == {"runs/a": "clean"}
    assert project.devml("status", "--exit-code", check=False).status == 1
    assert not leaked(project.path / ".git")


def test_file_without_permission_cannot_be_stored() -> None:
    """As another user: root may read everything."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        place.chmod(0o755)
        (place / "data").mkdir()
        (place / "data/secret").write_text("x")
        (place / "data/secret").chmod(0o600)
        (place / "one").write_text("x")
        (place / "one").chmod(0o600)
        os.seteuid(65534)
        try:
            whole, single = (scan(place, p, Cache(place / "cache")) for p in ("data", "one"))
        finally:
            os.seteuid(0)
        assert whole.odd == "data/secret cannot be read: permission denied"
        assert single.odd == "one cannot be read: permission denied"
    finally:
        shutil.rmtree(place)


def test_link_within_the_artifact_is_stored_as_a_file_and_restored(models: Project) -> None:
    """`best.pt -> epoch3.pt`: DVC's format has no links, the content is kept (and it is said)."""
    models.write("data/epoch1.pt", "one")
    models.write("data/epoch2.pt", "two")
    best = models.path / "data/best.pt"
    best.symlink_to("epoch1.pt")
    assert "stored as the files they point to" in models.commit("one").err
    models.git("tag", "one")
    best.unlink()
    best.symlink_to(models.path / "data/epoch2.pt")  # an absolute one, too
    models.commit("two")
    models.git("checkout", "-q", "one")
    assert models.read("data/best.pt") == "one"
    assert not best.is_symlink()
    models.git("checkout", "-q", "main")
    assert models.read("data/best.pt") == "two"
    assert models.read("data/epoch2.pt") == "two"
    assert models.in_step()


def test_links_into_the_cache_of_both_layouts_count_as_files(models: Project) -> None:
    """What plain DVC makes with `cache.type = symlink`, and DVC 2 made."""
    models.differential = False
    place = models.path / "data/x.csv"
    data = place.read_bytes()
    oid = hashlib.md5(data).hexdigest()
    for base in (models.cache, models.cache.parent.parent):
        there = base / oid[:2] / oid[2:]
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.exists():
            there.write_bytes(data)
        place.unlink()
        place.symlink_to(there)
        assert models.states()["data"] == "clean"


def test_artifact_that_is_a_link_to_another_disk_is_refused_by_name(
    models: Project, tmp_path: Path
) -> None:
    models.differential = False
    shutil.move(models.path / "data", tmp_path / "big")
    (models.path / "data").symlink_to(tmp_path / "big")
    assert "data is a symbolic link" in models.devml("snapshot", check=False).err
    assert models.devml("status", "--exit-code", check=False).status == 1
    assert (tmp_path / "big/x.csv").exists()


# -- links that git tracks -----------------------------------------------------------------------


@pytest.fixture
def shared(models: Project, tmp_path: Path) -> Project:
    """The three commits, pushed to a DVC remote beside."""
    models.differential = False
    (tmp_path / "store").mkdir()
    models.dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    models.commit("remote")
    models.devml("push", "--all", check=False)
    models.dvc("push", "-q")
    return models


@pytest.mark.parametrize("name", ["key", "x.csv"])
def test_link_in_git_inside_an_artifact_is_not_followed_nor_costs_a_member(
    shared: Project, canary: Path, tmp_path: Path, name: str
) -> None:
    """`name` is a new one, or one that the pointer has a file for."""
    pointer = shared.read("data.dvc")
    place = shared.path / "data" / name
    place.unlink(missing_ok=True)
    place.symlink_to(canary)
    hostile(shared, f"data/{name}")
    clone = Project(tmp_path / "clone", differential=False)
    run("git", "clone", "-q", str(shared.path), "clone", cwd=tmp_path)
    said = Said(clone)
    said("devml-git", "init")
    said("devml-git", "checkout")
    assert clone.exists("data/part1.csv")
    clone.write("models/a.pt", "mine")
    said("git", "commit", "-qam", "mine")
    said("devml-git", "snapshot")
    said("devml-git", "status")
    said("devml-git", "diff")
    said("devml-git", "push")
    assert clone.read("data.dvc") == pointer
    assert clone.show("HEAD", "data.dvc") == pointer
    if name == "key":
        assert clone.states()["data"] == "clean"
    else:
        assert "data/x.csv: a link is there; not followed" in said.text
        assert clone.devml("status", "--exit-code", check=False).status == 1
    assert (clone.path / "data" / name).is_symlink()
    assert canary.read_text().startswith(CANARY)
    assert CANARY not in said.text
    assert not leaked(clone.path / ".git", tmp_path / "store")


def test_linked_directory_in_git_inside_an_artifact_is_written_nowhere(
    shared: Project, tmp_path: Path
) -> None:
    shared.write("data/sub/x", "x")
    shared.commit("sub")
    shared.dvc("push", "-q")
    pointer = shared.read("data.dvc")
    shutil.rmtree(shared.path / "data/sub")
    outside = tmp_path / "outside"
    outside.mkdir()
    (shared.path / "data/sub").symlink_to(outside)
    hostile(shared, "data/sub")
    clone = Project(tmp_path / "clone", differential=False)
    run("git", "clone", "-q", str(shared.path), "clone", cwd=tmp_path)
    said = Said(clone)
    said("devml-git", "init")
    said("git", "commit", "-q", "--allow-empty", "-m", "mine")
    assert not list(outside.iterdir())
    assert clone.exists("data/x.csv")
    assert clone.show("HEAD", "data.dvc") == pointer


def test_link_beside_the_models_is_not_in_step_until_git_keeps_it(project: Project) -> None:
    project.differential = False
    project.write("models/a.pt", "one")
    (project.path / "models/latest.pt").symlink_to("a.pt")
    ran = project.git("commit", "--allow-empty", "-m", "one")
    assert "git add -f -- models/latest.pt" in ran.err
    assert project.devml("status", "--exit-code", check=False).status == 1
    project.git("add", "-f", "models/latest.pt")
    project.git("commit", "-m", "link")
    assert project.devml("status", "--exit-code").status == 0
    assert "latest.pt" not in project.devml("status").out
    assert project.git("ls-files", "-s", "models/latest.pt").out.startswith("120000")


# -- at and below .dvc ---------------------------------------------------------------------------

COMMANDS = (
    ("snapshot",), ("status",), ("log",), ("show",), ("diff",), ("verify",), ("checkout",),
    ("fetch",), ("push",), ("init",), ("doctor",), ("rescue", "list"), ("undo",),
)  # fmt: skip


def link_in_dvc(project: Project, path: str, target: Path) -> None:
    place = project.path / path
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize(
    "path",
    [
        ".dvc",
        ".dvc/cache",
        ".dvc/cache/files",
        ".dvc/cache/files/md5/ab",
        ".dvc/tmp",
        ".dvc/tmp/devml",
        ".dvc/config",
        ".dvc/config.local",
    ],
)
def test_link_of_a_commit_below_dvc_is_refused_by_every_command_and_hook(
    models: Project, tmp_path: Path, path: str
) -> None:
    models.differential = False
    outside = tmp_path / "outside"
    shutil.copytree(models.path / ".dvc", outside)
    (outside / "canary").write_text(CANARY)
    target = outside if "config" not in path else outside / "canary"
    link_in_dvc(models, path, target)
    hostile(models, path)
    models.git("config", "--unset", "devml.cache")  # as in a clone
    before = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}
    said = Said(models)
    models.write("models/a.pt", "mine")
    worked = [line[0] for line in COMMANDS if not said("devml-git", *line)]
    assert worked == ["log"]  # which needs nothing of it
    assert said("git", "commit", "-qam", "mine")
    assert said.text.count(f"{path} is a link that came with a commit") >= len(COMMANDS)
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before
    assert CANARY not in said.text
    assert not leaked(models.path / ".git/devml")


def test_link_that_some_commit_brought_stays_refused_once_git_tracks_it_no_more(
    models: Project, tmp_path: Path
) -> None:
    models.differential = False
    link_in_dvc(models, ".dvc/cache", tmp_path)
    hostile(models, ".dvc/cache")
    models.git("reset", "-q", "HEAD~1", check=False)
    assert (models.path / ".dvc/cache").is_symlink()
    ran = models.devml("snapshot", check=False)
    assert ".dvc/cache is a link that came with a commit" in ran.err
    hint = ran.err.partition("hint: ")[2].strip()
    run("sh", "-c", hint, cwd=models.path)
    models.devml("snapshot")


def test_users_own_link_to_a_big_disk_stands(models: Project, tmp_path: Path) -> None:
    """`.dvc/cache -> /big`, which no commit ever held: asked once, then known."""
    models.differential = False
    big = tmp_path / "big"
    shutil.move(models.path / ".git/devml/cache", big)
    models.git("config", "devml.cache", "../.dvc/cache")
    (models.path / ".dvc/config.local").unlink(missing_ok=True)
    link_in_dvc(models, ".dvc/cache", big)
    models.write("models/a.pt", "on the big disk")
    models.git("commit", "-q", "--allow-empty", "-m", "big")
    assert models.in_step()
    oid = hashlib.md5(b"on the big disk").hexdigest()
    assert (big / "files/md5" / oid[:2] / oid[2:]).exists()
    git = Git.discover(models.path)
    known = (git.private / "own-links").read_text()
    assert ".dvc/cache" in known
    asked = []
    git.__dict__["ever_held"] = lambda paths, **_: asked.append(paths) or set()
    links.refuse_below_dvc(git)
    assert not asked
    (models.path / ".dvc/cache").unlink()
    (models.path / ".dvc/cache").symlink_to(big)  # another link: asked anew
    links.refuse_below_dvc(git)
    assert asked


# -- settings, metrics, parameters, pipelines ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("devml.toml", None),
        ("pyproject.toml", None),
        ("params.yaml", None),
        ("metrics.json", None),
        ("dvc.yaml", None),
        ("dvc.lock", None),
        ("models/b.pt.dvc", None),
        (".dvcignore", None),
        (".gitignore", None),
        (".gitattributes", None),
        ("vars.yaml", "vars: [vars.yaml]\nstages: {a: {cmd: 'true', outs: ['${metric}']}}\n"),
        ("params.yaml", "stages: {a: {cmd: 'true', outs: ['o${metric}']}}\n"),
        ("params.yaml", "params: [params.yaml]\n"),
        ("none", "vars: [{out}]\nstages: {a: {cmd: 'true', outs: ['${metric}']}}\n"),
    ],
)
def test_settings_that_lead_out_are_not_read(
    models: Project, canary: Path, name: str, text: str | None
) -> None:
    """A canary that is sound TOML, YAML, an ignore rule... would be told in keys and names."""
    models.differential = False
    canary.write_text(f'"{CANARY}" = [\n' if name.endswith("toml") else f"{CANARY}\nmetric: k9q\n")
    if text is not None:
        models.write("dvc.yaml", text.replace("{out}", str(canary)))
    place = models.path / name
    place.unlink(missing_ok=True)
    place.symlink_to(canary)
    hostile(models, name)
    said = Said(models)
    models.write("models/a.pt", "mine")
    for line in (
        ("snapshot",),
        ("status", "--json"),
        ("log", "-v"),
        ("show",),
        ("diff",),
        ("doctor",),
    ):
        said("devml-git", *line)
    said("devml-git", "diff", "HEAD~1", "HEAD")
    said("devml-git", "track", "more/")
    said("git", "commit", "-qam", "mine")
    for text in (CANARY, "k9q"):
        assert text not in said.text
        assert canary.read_text().count(text) <= 1
        held = [p for p in (models.path / ".git/devml").rglob("*") if p.is_file()]
        assert not [p for p in held if text.encode() in p.read_bytes()]


def test_pipeline_that_reads_outside_is_named_and_the_rest_works(
    models: Project, canary: Path
) -> None:
    models.differential = False
    models.write("dvc.yaml", "vars: [vars.yaml]\nstages: {a: {cmd: 'true', outs: ['${metric}']}}\n")
    (models.path / "vars.yaml").symlink_to(canary)
    hostile(models)
    (broken,) = models.status()["broken"]
    assert broken["pointer"] == "dvc.yaml"
    assert "vars.yaml is a link that leads out of the repository" in broken["why"]
    assert models.states()["models/a.pt"] == "clean"


def test_links_between_files_of_the_repository_are_followed(models: Project) -> None:
    """Git keeps the text of such links; metrics and parameters are read here and in commits."""
    models.differential = False
    models.write("configs/params.yaml", "lr: 1\n")
    (models.path / "params.yaml").symlink_to("configs/params.yaml")
    models.write("sub/pyproject.toml", '[tool.devml-git]\nparams = ["params.yaml"]\n')
    (models.path / "devml.toml").unlink()
    (models.path / "pyproject.toml").symlink_to("sub/pyproject.toml")
    models.commit("links")
    models.write("configs/params.yaml", "lr: 2\n")
    models.commit("changed")
    for sides in (["HEAD~1", "HEAD"], ["HEAD~1"]):
        (change,) = models.devml("diff", "--json", *sides).json["params"]
        assert (change["file"], change["old"], change["new"]) == ("params.yaml", 1, 2)


def test_repository_below_a_linked_directory_works(models: Project, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(models.path.parent)
    place = tmp_path / "alias" / models.path.name
    (models.path / "data/best").symlink_to(place / "data/x.csv")  # leads out, as far as one sees
    assert "leads out" in devml("snapshot", cwd=place).err
    (models.path / "data/best").unlink()
    models.write("models/a.pt", "through the link")
    ran = devml_process("snapshot", cwd=place)
    assert ran.status == 0, ran.err
    assert models.in_step()
