"""What a command must not have done, whatever a repository says."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.hostile.arrivals import Visit
from tests.hostile.builder import PAYLOAD, Hostile, Template
from tests.hostile.course import Step
from tests.hostile.trace import CPU, Act, Done
from tests.hostile.world import HOME_MAY_HAVE, KEYS, World

SECONDS, MEGABYTES = CPU - 2, 512
MOST_TOLD = 4  # of a kind, of one command
PROGRAMS = re.compile(
    r"git(-.*)?|sh|dash|bash|python[\d.]*|devml-git|ssh|env|uname|ldconfig|ldconfig.real|gcc|collect2|ld|objdump|"
    # what the shim, git's own shell scripts and DVC use
    r"cat|grep|egrep|cmp|mv|rm|tail|head|sed|tr|cut|sort|basename|dirname|expr|mkdir|ls|wc|chmod|lsb_release|gettext|envsubst"
)
HOOK = re.compile(r"/hooks/[a-z-]+$")
# C0 but newline and tab, DEL, C1, and what turns the reading direction
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
CAUSE = re.compile(r"(error: internal error: )?[\w.]*(Error|Exception|Exit|Interrupt)\b")
# of git's own, which it prints though nobody looks
PROGRESS = re.compile(r"[A-Z][a-z ]+: +\d+% \(\d+/\d+\)[^\r\n]*\r")


@dataclass(frozen=True)
class Break:
    """Something that must not be: kind, what exactly, and after which step of which visit."""

    kind: str
    what: str
    visit: str = ""
    step: str = ""

    def __str__(self) -> str:
        return f"{self.visit}/{self.step}: {self.kind}: {self.what}"


@dataclass
class Judge:
    """Looks at one case, step by step."""

    world: World
    template: Template
    it: Hostile

    def __post_init__(self) -> None:
        self._set_up: set[Path] = set()  # by a command of the visit
        self._read_from: set[Path] = set()  # where the user has had a harmless remote read

    def step(self, visit: Visit, step: Step, done: Done) -> Iterator[Break]:
        """Judge one command."""
        found = [
            *self._acts(visit, step, done.acts),
            *self._output(step, done),
            *_limits(done),
        ]
        told: Counter[str] = Counter()
        for kind, what in dict.fromkeys(found):
            told[kind] += 1
            if told[kind] <= MOST_TOLD:
                yield Break(kind, what, visit.name, step.name)
        self._remember(visit, step, done)

    def _remember(self, visit: Visit, step: Step, done: Done) -> None:
        """Note what a command has accepted: hooks may go on with that."""
        if step.name in {"clone", "init"}:  # they accept whatever is harmless
            self._set_up.add(visit.place)
            self._read_from.add(visit.place)
        if self._gets(visit, step) and any(act.kind == "connect" for act in done.acts):
            self._read_from.add(visit.place)

    def end(self, visit: Visit) -> Iterator[Break]:
        """Judge what lies there at the end of a visit."""
        for found in (self._struck(), self._outside(visit), self._leaks(visit), self._open(visit)):
            for kind, what in islice(found, MOST_TOLD):
                yield Break(kind, what, visit.name, "end")
        for check in self.it.checks:
            if visit.place.is_dir() and (what := check(visit.place)):
                yield Break("wrong", what, visit.name, "end")

    # -- by what was traced ------------------------------------------------------------------------

    def _acts(self, visit: Visit, step: Step, acts: list[Act]) -> Iterator[tuple[str, str]]:
        reads = {str(f) for f in self.world.secrets}
        if self._may_connect(visit, step):
            reads -= {str(self.world.root / name) for name in KEYS}
        for act in acts:
            # git's own: it replaces directories by links, after which their paths lead elsewhere;
            # `end` finds what it would really change
            if act.kind == "write" and act.program.startswith("git") and "open" not in act.how:
                continue
            if act.kind == "write" and not self._may_write(visit, act.what):
                yield "wrote", self._short(f"{act.what} ({act.program}: {act.how})")
            elif act.kind == "read" and act.what in reads and not act.program.startswith("git"):
                yield "read", self._short(f"{act.what} ({act.program})")
            elif act.kind == "run" and not self._may_run(act.what):
                yield "ran", self._short(f"{act.what} {act.how}")
            elif act.kind == "connect" and not self._may_connect(visit, step):
                yield "connected", act.what

    def _may_write(self, visit: Visit, path: str) -> bool:
        if not _within(path, self.world.root):
            scratch = path.startswith(("/dev/", "/proc/", "/tmp/", "/var/tmp/"))
            return scratch or "__pycache__" in path
        own = [*visit.may_change, self.world.tmp, self.world.hub]
        own += [self.world.home / name for name in HOME_MAY_HAVE]
        own += [self.world.home / ".config" / name for name in HOME_MAY_HAVE]
        if visit.sends or visit.trusted:
            own.append(self.world.remote)
        if visit.trusted:
            own += self.it.sends_to
        return any(_within(path, place) for place in own)

    def _may_run(self, path: str) -> bool:
        if not _within(path, self.world.root):
            return PROGRAMS.fullmatch(os.path.basename(path)) is not None
        # a hook of ours is one that we have written
        try:
            return HOOK.search(path) is not None and PAYLOAD not in Path(path).read_text()
        except OSError:
            return False

    def _may_connect(self, visit: Visit, step: Step) -> bool:
        if visit.trusted or (self.it.accepted and visit.sends):
            return True
        gets = self._gets(visit, step) or visit.place in self._read_from
        return self.template.harmless and gets

    def _gets(self, visit: Visit, step: Step) -> bool:
        """Whether the user has asked for reading from the remote."""
        return step.gets or (step.asks and (visit.set_up or visit.place in self._set_up))

    # -- by what it printed and took -----------------------------------------------------------------

    def _output(self, step: Step, done: Done) -> Iterator[tuple[str, str]]:
        text = (done.out + done.err).decode("utf-8", "replace")
        ours = done.err.decode("utf-8", "replace") if step.is_git else text
        for file, secret in self.world.secrets.items():
            if secret in text:
                yield "told", self._short(str(file))
        if "File too large" in text or done.status == -25:
            yield "large", "a file of more than a gigabyte was being written"
        for word in self.world.hidden:
            if word in text and not step.is_git:
                yield "told", "a password"
        if "Traceback (most recent call last)" in ours or (done.status == 70 and not step.is_git):
            lines = [line for line in ours.splitlines() if CAUSE.match(line)]
            yield "crashed", (lines or ["?"])[-1][:200]
        if match := CONTROL.search(PROGRESS.sub("", ours)):
            line = match.string[max(0, match.start() - 60) : match.end() + 20]
            yield "printed raw", ascii(line)

    # -- by what lies there ----------------------------------------------------------------------------

    def _struck(self) -> Iterator[tuple[str, str]]:
        for file in self.world.struck.iterdir():
            yield "payload ran", file.name
            file.unlink()

    def _outside(self, visit: Visit) -> Iterator[tuple[str, str]]:
        now = self.world.outside()
        for place in sorted({*now, *self.world.before}):
            if visit.trusted and any(_within(str(place), sent) for sent in self.it.sends_to):
                continue
            if now.get(place) != self.world.before.get(place):
                yield "changed outside", self._short(str(place))

    def _leaks(self, visit: Visit) -> Iterator[tuple[str, str]]:
        """Look for secrets wherever bytes are kept, and for payloads where git would run them."""
        secrets = {s.encode(): f for f, s in self.world.secrets.items()}
        for base in (*visit.may_change, self.world.remote, self.world.elsewhere, self.world.hub):
            for here, _, files in os.walk(base):
                for name in files:
                    file = Path(here, name)
                    if file.is_symlink() or not file.is_file() or file.stat().st_size > 1 << 24:
                        continue
                    data = file.read_bytes()
                    for secret, source in secrets.items():
                        if secret in data:
                            yield "leaked", self._short(f"{source} to {file}")
                    if PAYLOAD.encode() in data and _git_runs(str(file)):
                        yield "planted", self._short(str(file))

    def _open(self, visit: Visit) -> Iterator[tuple[str, str]]:
        """Look for places of ours, or settings of the user's, that others may enter or read."""
        for place in visit.may_change:
            for private in (*place.glob(".git/**/devml"), place / ".dvc/config.local"):
                if private.is_symlink() or not private.exists() or _is_in_git(place, private):
                    continue
                if private.stat().st_mode & 0o077:
                    yield "open", self._short(f"{private} {private.stat().st_mode:o}")

    def _short(self, text: str) -> str:
        return text.replace(str(self.world.root) + "/", "")


def _limits(done: Done) -> Iterator[tuple[str, str]]:
    if done.hung:
        yield "hung", "no end of it"
    elif done.cpu > SECONDS or done.status in (-24, -9, 152):
        yield "slow", f"{done.cpu:.0f} s of processor time or more"
    elif done.status < 0:
        yield "crashed", f"signal {-done.status}"
    if done.rss > MEGABYTES:
        yield "large", f"{done.rss} MB"


def _is_in_git(place: Path, file: Path) -> bool:
    argv = ["git", "-C", str(place), "ls-files", "--", str(file)]
    return bool(subprocess.run(argv, capture_output=True, check=False).stdout)


def _within(path: str, place: Path) -> bool:
    return path == str(place) or path.startswith(f"{place}/")


def _git_runs(path: str) -> bool:
    """Whether a file is a git directory's own: neither an object nor in the cache."""
    return "/.git/" in path and not re.search(r"/(objects|files/md5|logs|refs)/", path)
