"""Pipelines at random, by seed: a project of a few commits whose `dvc.yaml` files change.

    python -m tests.pipelinefuzz FIRST COUNT

holds what we say of each commit's outputs against what DVC says of it, and prints "N of M agree".
Nothing is run: a `dvc.lock` is written as DVC would, what it leaves behind of stages that are gone
included.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devml_git import walking
from devml_git.gathering import gather
from devml_git.workspace import Workspace
from tests.world import GIT_CONFIG, Project, build_template, run, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devml_git.nouns import Pointer, Snapshot

# path -> hash, size, pushed, remote
Said = dict[str, tuple[str | None, int | None, bool, str | None]]
COMMITS = 3
VALUES = {"lr": 0.1, "name": "net", "names": ["a", "b"], "sizes": {"s": {"n": 1}, "l": {"n": 9}}, "deep": {"dir": "made"}}  # fmt: skip
PLACES = ("", "train/", "ml/deep/")


class Maker:
    """Makes the files of one project, and changes them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = 0
        self.files = self.random.sample(PLACES, self.random.choice((1, 1, 2, 3)))
        self.stages: dict[str, dict[str, Any]] = {place: {} for place in self.files}
        self.vars: dict[str, list[Any]] = {place: [] for place in self.files}
        self.texts: dict[str, str] = {}

    def chance(self, of: float) -> bool:
        return self.random.random() < of

    def change(self) -> dict[str, str]:
        """Change something, and return the texts of all files but locks."""
        for place in self.files:
            stages = self.stages[place]
            if stages and self.chance(0.4):
                del stages[self.random.choice(list(stages))]
            if stages and self.chance(0.4):
                old = self.random.choice(list(stages))
                stages[self.name()] = stages.pop(old)
            for _ in range(self.random.choice((0, 1, 2) if stages else (1, 2, 4))):
                self.add(place, stages)
            if not self.vars[place] or self.chance(0.3):
                self.vars[place] = self.values(place)
        for place in self.files:
            entries = self.vars[place]
            whole: dict[str, Any] = {"vars": entries} if entries else {}
            whole["stages"] = self.stages[place]
            self.texts[f"{place}dvc.yaml"] = text_of(whole)
        return self.texts

    def name(self) -> str:
        self.count += 1
        return f"stage{self.count}"

    def values(self, place: str) -> list[Any]:
        """Lay values out: in the default file, in others, or inline."""
        values = {**VALUES, "name": self.random.choice(("net", "tree")),
                  "names": self.random.sample("abcdef", self.random.choice((1, 2, 3)))}  # fmt: skip
        entries: list[Any] = []
        default: dict[str, Any] = {}
        self.texts.pop(f"{place}params.yaml", None)
        for key, value in values.items():
            match self.random.choice(("default", "inline", "yaml", "json", "toml", "py", "key")):
                case "default":
                    default[key] = value
                case "inline":
                    entries.append({key: value})
                case "key":
                    file = f"some-{key}.yaml"
                    self.texts[f"{place}{file}"] = text_of({key: value, "other": 1})
                    entries.append(f"{file}:{key}")
                case kind:
                    self.texts[f"{place}more-{key}.{kind}"] = written(kind, key, value)
                    entries.append(f"more-{key}.{kind}")
        if default or self.chance(0.5):
            self.texts[f"{place}params.yaml"] = text_of(default)
        return entries

    def add(self, place: str, stages: dict[str, Any]) -> None:
        """Add a stage of one of the kinds."""
        name = self.name()
        stage: dict[str, Any] = {"cmd": "echo"}
        stage |= self.of({"desc": "why", "meta": {"a": 1}, "frozen": True, "always_changed": True})
        up = "../" * place.count("/")
        wdir = self.random.choice([None] * 4 + ["sub", "./sub/", f"{up or '.'}", "${deep.dir}"])
        if wdir:
            stage["wdir"] = wdir
        kind = self.random.choice(("plain", "plain", "templated", "foreach", "items", "matrix"))
        part = {"foreach": "-${item}", "items": "-${key}-${item.n}",
                "matrix": "-${item.x}-${item.y}", "templated": "-${name}"}.get(kind, "")  # fmt: skip
        for list_name in ("outs", "metrics", "plots"):
            if list_name == "outs" or self.chance(0.3):
                stage[list_name] = [self.out(f"{name}-{list_name}{n}{part}", list_name)
                                    for n in range(self.random.choice((1, 1, 2)))]  # fmt: skip
        match kind:
            case "foreach":
                over = self.random.choice(["${names}", ["x", "y"], "${names}"])
                stages[name] = {"foreach": over, "do": stage}
            case "items":
                stages[name] = {"foreach": "${sizes}", "do": stage}
            case "matrix":
                stages[name] = {**stage, "matrix": {"x": "${names}", "y": [1, 2]}}
            case _:
                stages[name] = stage

    def out(self, name: str, of: str) -> Any:
        path = self.random.choice((f"{name}.bin", f"dir/{name}", f"./{name}.csv", f"{name}.d/"))
        options = self.of({"cache": False, "persist": True, "push": False, "remote": "other"})
        if of == "plots" and self.chance(0.5):
            options |= {"x": "step"}
        return {path: options} if options else path

    def of(self, some: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in some.items() if self.chance(0.15)}


def text_of(data: dict[str, Any]) -> str:
    from dvc.utils.serialize import dumps_yaml

    return str(dumps_yaml(data))


def written(kind: str, key: str, value: Any) -> str:
    """Return a file of one value, as DVC reads it."""
    match kind:
        case "json":
            return json.dumps({key: value})
        case "toml":
            import tomlkit

            return tomlkit.dumps({key: value})
        case "py":
            return f"{key} = {value!r}\n"
    return text_of({key: value})


def by_dvc(repo: Any) -> tuple[Said, dict[str, dict[str, list[str]]]]:
    """Return what DVC says of outputs, and by `dvc.yaml` the paths that each stage would lock."""
    said: Said = {}
    locks: dict[str, dict[str, list[str]]] = {}
    for stage in repo.index.stages:
        if getattr(stage, "name", None) is None:
            continue
        file = os.path.relpath(stage.path, repo.root_dir)
        locks.setdefault(file, {})[stage.name] = [out.def_path for out in stage.outs]
        for out in stage.outs:
            if out.use_cache and out.hash_info:
                path = os.path.relpath(out.fs_path, repo.root_dir)
                said[path] = (out.hash_info.value, out.meta.size, bool(out.can_push), out.remote)
    return said, locks


def lock(old: str, stages: dict[str, list[str]], rng: random.Random) -> str:
    """Return a `dvc.lock` for these stages; what is there of others stays, as DVC leaves it."""
    from dvc.utils.serialize import parse_yaml

    table = parse_yaml(old, "dvc.lock")["stages"] if old else {}
    for name, outs in stages.items():
        if name in table and rng.random() < 0.5:
            continue  # not run again
        entries = [{"path": path, "hash": "md5", "md5": oid(rng), "size": rng.randrange(1, 99)}
                   for path in sorted(outs)]  # fmt: skip
        table[name] = {"cmd": "echo", "outs": entries}
    return text_of({"schema": "2.0", "stages": table})


def oid(rng: random.Random) -> str:
    return hashlib.md5(rng.randbytes(8), usedforsecurity=False).hexdigest()


def of_snapshot(snapshot: Snapshot) -> Said:
    assert not snapshot.broken, snapshot.broken
    return of_pointers(snapshot.pointers.values())


def of_pointers(some: Iterable[Pointer]) -> Said:
    return {p.path: (p.oid, p.size, p.push, p.remote) for p in some if p.oid}


def differences(seed: int, project: Project) -> list[str]:
    """Make pipelines of a seed in a project, and return where DVC and we differ."""
    from dvc.repo import Repo

    maker, place = Maker(seed), project.path
    with open(place / ".dvc/config", "a") as file:
        file.write("['remote \"other\"']\n    url = /nowhere\n")
    rng = random.Random(seed)
    said: dict[str, Said] = {}
    written_before: set[str] = set()
    for n in range(COMMITS):
        texts = maker.change()
        for name in {name for name in written_before if name not in texts}:
            (place / name).unlink()
        for name, text in texts.items():
            project.write(name, text)
        written_before = set(texts)
        for base in [place / p for p in maker.files]:
            for sub in ("sub", "made"):
                (base / sub).mkdir(exist_ok=True)
        with Repo(str(place)) as repo:
            _, locks = by_dvc(repo)
        for file, stages in locks.items():
            where = place / Path(file).with_name("dvc.lock")
            old = where.read_text() if where.exists() else ""
            where.write_text(lock(old, stages, rng))
        run("git", "add", "-A", cwd=place)
        run("git", "-c", "core.hooksPath=/dev/null", "commit", "-q", "--allow-empty", "-m",
            f"{n}", cwd=place)  # fmt: skip
        with Repo(str(place)) as repo:
            said[project.head()] = by_dvc(repo)[0]
    return _compared(project, said)


def _compared(project: Project, said: dict[str, Said]) -> list[str]:
    found = []
    with Workspace.discover(project.path) as ws:
        head = project.head()
        ours = {"worktree": (of_snapshot(ws.tree.snapshot), said[head])}
        for commit, theirs in said.items():
            ours[f"{commit} as a revision"] = of_snapshot(ws.snapshot_at(commit)), theirs
            walked = walking.snapshot(ws.git, ws.config, commit)
            ours[f"{commit} in a walk"] = of_snapshot(walked), theirs
            alone = gather(ws.git, [commit], ws.pipelines)
            got = of_pointers(p for some in alone.pointers.values() for p in some)
            ours[f"{commit} alone"] = got, theirs
        every = gather(ws.git, list(reversed(said)), ws.pipelines)
        keys = {(p.path, *of_pointers([p])[p.path]) for s in every.pointers.values() for p in s}
        if keys != {(path, *what) for one in said.values() for path, what in one.items()}:
            found.append("gathered of all: not what the commits have")
    found += [
        f"{where}: {sorted(set(a.items()) ^ set(b.items()))[:3]}"
        for where, (a, b) in ours.items()
        if a != b
    ]
    return found


def main() -> int:
    """Compare so many projects, from a seed on."""
    first, count = map(int, sys.argv[1:3])
    agree = 0
    with tempfile.TemporaryDirectory() as base:
        os.environ.update(settings_of(Path(base, "home")))
        (Path(base, "home")).mkdir()
        (Path(base, "home/.gitconfig")).write_text(GIT_CONFIG)
        (Path(base, "template")).mkdir()
        template = build_template(Path(base, "template"))
        for seed in range(first, first + count):
            place = Path(base, "project")
            shutil.copytree(template, place, symlinks=True)
            found = differences(seed, Project(place, differential=False))
            shutil.rmtree(place)
            agree += not found
            for line in found:
                print(f"seed {seed}: {line}", flush=True)
    print(f"pipelines: {agree} of {count} agree with DVC, seeds from {first}")
    return agree != count


if __name__ == "__main__":
    sys.exit(main())
