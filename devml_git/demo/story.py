"""What `devml-git demo` plays: train four versions, bring each back, measure it again.

Everything is done as a user would do it, by git and devml-git as programs; each command is told
with its output. Whatever does not come out as promised raises.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devml_git import isolation
from devml_git.amounts import counted
from devml_git.errors import DevmlError, GitFailed, StorageFailed, UsageError
from devml_git.gate import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MODELS = ("models/clf.safetensors", "models/clf.joblib")
DATA = "data/digits"
PROJECT = (".gitignore", "README.md", "evaluate.py", "make_data.py", "params.yaml", "train.py")
HEADS = (
    "commit",
    "version",
    "accuracy",
    "log_loss committed",
    "after git checkout",
    "after devml-git checkout",
)
_LIBRARIES = ("joblib", "numpy", "safetensors", "sklearn")
# What of git's environment belongs to the machine and not to the repository we were called in
_GIT_ENV = frozenset(
    {
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_EXEC_PATH",
        "GIT_TEMPLATE_DIR",
    }
)
# Lines of git's that tell a learner nothing
_NOISE = re.compile(
    r" (create|delete) mode | rewrite | \d+ files? changed|Previous HEAD position|HEAD is now at "
)
# `color.ui = always` in the user's own configuration
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MOST_LINES = 8


class DemoFailed(DevmlError):
    """A version did not come back as it was committed: a bug of ours."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What evaluate.py found; floats in full, so that equal means equal to the last digit."""

    accuracy: float
    log_loss: float

    @classmethod
    def parse(cls, text: str) -> Metrics:
        """Read metrics.json, or what evaluate.py prints. Raises DemoFailed for anything else."""
        try:
            values = json.loads(text)
            return cls(float(values["accuracy"]), float(values["log_loss"]))
        except (ValueError, TypeError, KeyError) as e:
            raise DemoFailed(f"these are no metrics: {shown(text)}") from e


@dataclass(frozen=True, slots=True)
class Content:
    """All files of the artifacts in the workspace: one hash over names and bytes, and the size."""

    digest: str
    size: int

    @classmethod
    def read(cls, place: Path) -> Content:
        """Read the models and the data that lie in the demo's directory."""
        total = hashlib.sha256()
        size = 0
        for file in sorted(file for path in (*MODELS, DATA) for file in _files(place / path)):
            data = file.read_bytes()
            size += len(data)
            total.update(f"{file.relative_to(place)} {hashlib.sha256(data).hexdigest()}\n".encode())
        return cls(total.hexdigest(), size)


@dataclass(frozen=True, slots=True)
class Version:
    """A commit of the demo, and the models and data it was made with."""

    commit: str
    subject: str
    committed: Metrics
    content: Content


@dataclass(frozen=True, slots=True)
class Row:
    """One commit: its metrics as committed, and as measured after each way to bring it back."""

    commit: str
    subject: str
    committed: Metrics
    after_git: Metrics
    after_devml: Metrics

    def cells(self) -> tuple[str, ...]:
        """Return the columns that HEADS names, numbers to the last digit."""
        return (
            self.commit[:7],
            self.subject,
            repr(self.committed.accuracy),
            repr(self.committed.log_loss),
            repr(self.after_git.log_loss),
            repr(self.after_devml.log_loss),
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """How one version comes about: what is said, changed (file, old, new) and then run."""

    subject: str
    remark: str
    edits: tuple[tuple[str, str, str], ...]
    scripts: tuple[str, ...]


_STEPS = (
    _Step(
        "Linear model",
        "1. Data as files, and a first model. Only git from here on.",
        (),
        ("make_data.py", "train.py"),
    ),
    _Step(
        "Small neural network",
        "2. A better model.",
        (("params.yaml", "model: linear", "model: mlp"),),
        ("train.py",),
    ),
    _Step(
        "Enlarged data",
        "3. The same model on three times as many training images.",
        (("params.yaml", "shifts: []", "shifts: [left, right]"),),
        ("make_data.py", "train.py"),
    ),
    _Step(
        "Tidy up training",
        "4. A tidy-up with a bug: the training images are no longer scaled.",
        (("train.py", "fit(params, scale(pixels), labels)", "fit(params, pixels, labels)"),),
        ("train.py",),
    ),
)


def run(directory: str, say: Callable[[str], None]) -> list[Row]:
    """Play the demo in a fresh directory, which stays; return a row for each version.

    Args:
        directory: must be empty, or not exist.
        say: is called with each line of the story, untrusted characters included.

    Raises:
        UsageError: the directory is in use, or a library of the demo is missing.
        DemoFailed: a version did not come back to the last digit.
        GitFailed: git failed.
    """
    _require_libraries()
    stage = _Stage(_fresh(directory), say)
    _set_up(stage)
    versions = [_make(stage, step) for step in _STEPS]
    after_git = _revisit(
        stage, versions, "5. Each version again, by git alone.", ("git", "checkout", "--detach")
    )
    after_devml = _revisit(stage, versions, "6. The same by devml-git.", ("devml-git", "checkout"))
    stage.run(("devml-git", "checkout", "main"))
    _best_model_into_newest_code(stage, versions)
    _sizes(stage, versions)
    return [
        Row(v.commit, v.subject, v.committed, after_git[v.commit], after_devml[v.commit])
        for v in versions
    ]


# -- before the curtain ------------------------------------------------------------------------


def _require_libraries() -> None:
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the demo trains real models and needs {', '.join(missing)}",
            hint='pip install "devml-git[demo]"',
        )


def _fresh(directory: str) -> Path:
    """Make the directory; raise UsageError if anything is there."""
    place = Path(os.path.abspath(directory))
    try:
        place.mkdir(parents=True, exist_ok=True)
        occupied = any(place.iterdir())
    except (FileExistsError, NotADirectoryError) as e:
        raise UsageError(
            f"{shown(place)} is no directory", hint="devml-git demo SOME-NEW-DIRECTORY"
        ) from e
    except OSError as e:
        raise StorageFailed(f"{shown(place)} cannot be used: {e.strerror}") from e
    if occupied:
        raise UsageError(f"{shown(place)} is not empty", hint="devml-git demo SOME-NEW-DIRECTORY")
    return place


def _environment() -> dict[str, str]:
    """Return ours without what ties git to a repository or tells our hooks to keep out."""
    return {
        key: value
        for key, value in os.environ.items()
        if key in _GIT_ENV or not key.startswith(("GIT_", "DEVML_"))
    }


class _Stage:
    """The demo's directory: runs programs in it and tells what they say."""

    def __init__(self, place: Path, say: Callable[[str], None]) -> None:
        self.place = place
        self.say = say
        self._env = _environment()

    def run(self, *commands: Sequence[str]) -> str:
        """Tell and run commands one after the other; return what the last one says.

        Raises if one fails; the others are then not run.
        """
        self.say(f"$ {' && '.join(shlex.join(words) for words in commands)}")
        output = ""
        for words in commands:
            done = self._call(words, errors=subprocess.STDOUT)
            output = done.stdout
            self._tell(output)
            if done.returncode:
                raise _failure(words, done.returncode, output)
        return output

    def _tell(self, output: str) -> None:
        lines = [
            line.rstrip()
            for line in _COLOUR.sub("", output).splitlines()
            if line.strip() and not _NOISE.match(line)
        ]
        for line in lines[:_MOST_LINES]:
            self.say(line)
        if len(lines) > _MOST_LINES:
            self.say(f"... {counted(len(lines) - _MOST_LINES, 'more line')}")

    def ask(self, *words: str) -> str | None:
        """Run a command without a word; return its output, or None if it failed."""
        done = self._call(words)
        return None if done.returncode else done.stdout.strip()

    def need(self, *words: str) -> str:
        """Run a command without a word; return its output. Raises if it fails."""
        done = self._call(words)
        if done.returncode:
            raise _failure(words, done.returncode, done.stderr)
        return done.stdout.strip()

    def _call(
        self, words: Sequence[str], *, errors: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        argv = [*_PROGRAMS.get(words[0], (words[0],)), *words[1:]]
        return subprocess.run(
            argv,
            cwd=self.place,
            env=self._env,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="backslashreplace",
        )


# What lies in the demo's directory is not imported by the command itself
_PROGRAMS = {
    "devml-git": tuple(isolation.command("cli")),
    "python": (sys.executable,),
}


def _failure(words: Sequence[str], status: int, output: str) -> DevmlError:
    message = f"`{shlex.join(words)}` failed with exit code {status}"
    if words[0] == "git":
        return GitFailed(message, argv=tuple(words), stderr=output, status=status)
    return DemoFailed(message)


# -- the acts ----------------------------------------------------------------------------------


def _set_up(stage: _Stage) -> None:
    stage.say(f"# A project of a few files, in {stage.place}")
    stage.run(("git", "init", "--quiet", "-b", "main"))
    _settle_git(stage)
    source = importlib.resources.files(__package__).joinpath("project")
    for name in PROJECT:
        (stage.place / name).write_bytes(source.joinpath(name).read_bytes())
    stage.run(("devml-git", "init", "--track", "models/**", "--track", f"{DATA}/"))


def _settle_git(stage: _Stage) -> None:
    """Make the repository work whatever the user's own configuration says."""
    wanted = {"advice.detachedHead": "false", "commit.gpgSign": "false"}
    somebody = {"user.name": "devml-git demo", "user.email": "demo@example.invalid"}
    wanted |= {key: name for key, name in somebody.items() if not stage.ask("git", "config", key)}
    if stage.ask("git", "config", "core.hooksPath") is not None:
        wanted["core.hooksPath"] = str(stage.place / ".git" / "hooks")
    for key, value in wanted.items():
        stage.need("git", "config", "--local", key, value)


def _make(stage: _Stage, step: _Step) -> Version:
    """Change the project, run its scripts, commit; return the commit and what it holds."""
    stage.say("")
    stage.say(f"# {step.remark}")
    for name, old, new in step.edits:
        _edit(stage, name, old, new)
    stage.run(*(("python", script) for script in step.scripts))
    stage.run(("git", "add", "-A"), ("git", "commit", "-m", step.subject))
    commit = stage.need("git", "rev-parse", "HEAD")
    for path in (*MODELS, DATA):
        stage.need("git", "cat-file", "-e", f"{commit}:{path}.dvc")
    metrics = Metrics.parse(stage.need("git", "show", f"{commit}:metrics.json"))
    return Version(commit, step.subject, metrics, Content.read(stage.place))


def _edit(stage: _Stage, name: str, old: str, new: str) -> None:
    stage.say(f"# in {name}: `{old}` becomes `{new}`")
    path = stage.place / name
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise DemoFailed(f"{name} does not hold `{old}` once")
    path.write_text(text.replace(old, new), encoding="utf-8")


def _revisit(
    stage: _Stage, versions: Sequence[Version], remark: str, checkout: tuple[str, ...]
) -> dict[str, Metrics]:
    """Check each version out and measure it; return the metrics by commit."""
    stage.say("")
    stage.say(f"# {remark}")
    found = {}
    for version in versions:
        found[version.commit] = _measure(stage, (*checkout, version.commit[:7]), version)
        if stage.need("git", "rev-parse", "HEAD") != version.commit:
            raise DemoFailed(f"HEAD is not at {version.commit[:7]}")
        if Content.read(stage.place) != version.content:
            raise DemoFailed(f"models and data are not those of {version.commit[:7]}")
    return found


def _measure(stage: _Stage, checkout: Sequence[str], expected: Version) -> Metrics:
    """Check out and measure. Raises unless the metrics are `expected` to the last digit."""
    found = Metrics.parse(
        stage.run(checkout, ("python", "evaluate.py")).strip().rpartition("\n")[2]
    )
    if found != expected.committed:
        raise DemoFailed(
            f"measured {found}, but {expected.commit[:7]} was committed with {expected.committed}"
        )
    return found


def _best_model_into_newest_code(stage: _Stage, versions: Sequence[Version]) -> None:
    best = max(versions, key=lambda v: v.committed.accuracy)
    stage.say("")
    stage.say(f"# 7. The best model ({best.commit[:7]}: {best.subject}) into the newest code.")
    _measure(stage, ("devml-git", "checkout", best.commit[:7], "--", *MODELS), best)
    if stage.need("git", "rev-parse", "HEAD") != versions[-1].commit:
        raise DemoFailed("HEAD moved, though only models were asked for")
    stage.run(("devml-git", "status"))
    stage.run(("git", "status", "--short"))


def _sizes(stage: _Stage, versions: Sequence[Version]) -> None:
    place = Path(stage.need("git", "rev-parse", "--absolute-git-dir")) / "devml" / "cache"
    cache = sum(file.stat().st_size for file in _files(place))
    copies = sum(version.content.size for version in versions)
    stage.say("")
    stage.say("# 8. What it costs: equal content is kept once.")
    stage.say(f"each of {counted(len(versions), 'version')} as a copy: {copies / 1e6:.1f} MB")
    stage.say(f"the cache that holds all of them: {cache / 1e6:.1f} MB")
    if not 0 < cache < copies:
        raise DemoFailed("the cache is not smaller than copies of all versions")


def _files(place: Path) -> Iterator[Path]:
    """Yield a file itself, or all files below a directory."""
    if place.is_file():
        yield place
    else:
        yield from (file for file in place.rglob("*") if file.is_file())
