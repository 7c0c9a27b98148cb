"""Many processes at work at once on one cache, some of them killed: git, devml-git, stock DVC.

Run as a program of its own: it imports devml-git and DVC once and forks, so that a process more
costs little, and it prints what it found as one JSON document.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devml_git.place import TEMPORARY
from tests.durability.trial import md5, objects, wrong
from tests.world import run

MODELS = ("models/a.pt", "models/b.pt", "models/c.pt")
MEMBERS = ("data/x.csv", "data/y.csv", "data/deep/z.csv")
TAGS = ("v1", "v2", "v3")
# No process may stay longer than this. 30 s is how long a lock is waited for; the rest is for a
# machine that is busy with other things.
PATIENCE = 60
DVC_WRITES = ("dvc add", "dvc checkout", "dvc pull")
OURS = re.compile(rb"^devml-git: internal error|Traceback|content is missing|corrupt", re.MULTILINE)
SAYS_WHY = re.compile(
    rb"^(devml-git: )?(error|fatal|hint|warning|ERROR|CONFLICT)\b|devml.error/v1", re.MULTILINE
)


@dataclass
class Order:
    """What a campaign is to do: `kind` is "worktrees" or "clones"."""

    base: str
    place: str
    kind: str
    seed: int
    places: int
    crowd: int = 8
    operations: int = 0  # 0: until `seconds` are over
    seconds: float = 0
    deadly: float = 0.15  # how many of the processes are killed


@dataclass
class Report:
    """What came of it; `violations` is empty or a bug was found."""

    done: int = 0
    refused: int = 0
    killed: int = 0
    locks: int = 0  # of a git that was killed, cleared by hand as git says
    longest: float = 0
    said: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@dataclass
class Job:
    """One process, the leader of its group."""

    pid: int
    name: str
    place: Path
    log: Path
    began: float
    dies_at: float | None
    dies_alone: bool
    killed: bool = False


class Crowd:
    """The places, and who is at work there."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.rng = random.Random(f"{order.kind} {order.seed}")
        self.report = Report()
        self.root = Path(order.place)
        self.scratch = self.root / "scratch"
        self.scratch.mkdir(parents=True)
        self.kept: dict[str, str] = {}  # contents somebody wrote and nobody overwrote, and where
        self.unseen: set[str] = set()
        self.history: list[str] = []
        self.jobs: list[Job] = []
        self.number = 0
        self.cache = self.root / ("main/.git/devml/cache" if order.kind == "worktrees" else "cache")
        self.places = list(self._worktrees() if order.kind == "worktrees" else self._clones())
        self.kept |= dict.fromkeys(
            (o for o in objects(self.root, self.cache) if not o.endswith(".dir")), "the beginning"
        )

    # -- places ------------------------------------------------------------------------------

    def _worktrees(self) -> Iterator[Path]:
        main = self.root / "main"
        shutil.copytree(self.order.base, main, symlinks=True)
        self._remote(main)
        yield main
        for n in range(1, self.order.places):
            place = self.root / f"w{n}"
            run("git", "worktree", "add", "-q", "-b", place.name, str(place), "v3", cwd=main)
            yield place

    def _clones(self) -> Iterator[Path]:
        first = self.root / "main"
        for n in range(self.order.places):
            place = first if n == 0 else self.root / f"w{n}"
            shutil.copytree(self.order.base, place, symlinks=True)
            if n == 0:
                shutil.move(place / ".git/devml/cache", self.cache)
            else:
                shutil.rmtree(place / ".git/devml/cache")
                run("git", "checkout", "-q", "-b", place.name, cwd=place)
            run("git", "config", "devml.cache", str(self.cache), cwd=place)
            (place / ".dvc/config.local").write_text(f"[cache]\n    dir = {self.cache}\n")
            self._remote(place)
            yield place

    def _remote(self, place: Path) -> None:
        with (place / ".dvc/config.local").open("a") as file:
            file.write(f"['remote \"shared\"']\n    url = {self.root / 'remote'}\n")
            file.write("[core]\n    remote = shared\n")

    # -- the user's own writing ----------------------------------------------------------------

    def write(self, place: Path, path: str) -> None:
        """Save a file as careful programs do; what that overwrites is the user's own doing."""
        self.number += 1
        line = f"{place.name} {path} {self.order.seed} {self.number}\n".encode()
        data = line * self.rng.choice((1, 40, 4000))
        new = self.scratch / f"new-{self.number}"
        new.write_bytes(data)
        self.kept[md5(data)] = f"{place.name}/{path} at {time.monotonic():.3f}"
        while True:
            self.remove(place, path)
            try:
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                os.link(new, place / path)
                break
            except (FileExistsError, FileNotFoundError):
                continue
        new.unlink()

    def remove(self, place: Path, path: str) -> None:
        aside = self.scratch / "aside"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.rename(place / path, aside)
            gone = md5(aside.read_bytes())
            if not (self.cache / "files/md5" / gone[:2] / gone[2:]).exists():
                self.kept.pop(gone, None)
            aside.unlink()

    # -- processes -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start one process somewhere, having edited something there perhaps."""
        rng = self.rng
        place = rng.choice(self.places)
        # DVC puts back what it took, over whatever its user has saved there meanwhile
        by_dvc = any(j.place == place and j.name.startswith(DVC_WRITES) for j in self.jobs)
        for path in rng.sample(MODELS + MEMBERS, 0 if by_dvc else rng.choice((0, 1, 1, 2))):
            self.remove(place, path) if rng.random() < 0.1 else self.write(place, path)
        argv = self.argv(place)
        self.number += 1
        log = self.scratch / f"log-{self.number}"
        dies = rng.random() < self.order.deadly
        now = time.monotonic()
        pid = os.fork()
        if pid == 0:
            become(argv, place, log)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        dies_at = now + rng.random() ** 2 * 1.5 if dies else None
        name = " ".join(argv)
        self.jobs.append(Job(pid, name, place, log, now, dies_at, rng.random() < 0.4))

    def argv(self, place: Path) -> tuple[str, ...]:
        rng = self.rng
        own = "main" if place.name == "main" else place.name
        rev = rng.choice(TAGS)
        model = rng.choice(MODELS)
        message = f"n{self.number}"
        table: dict[tuple[str, ...], int] = {
            ("git", "commit", "-qam", message): 5,
            ("sh", "-c", f"git add -A && git commit -qm {message}"): 5,
            ("git", "checkout", "-q", "--detach", rev): 4,
            ("git", "checkout", "-q", own): 4,
            (
                "sh",
                "-c",
                f"git merge -qm {message} {rng.choice(self.places).name} || git merge --abort",
            ): 2,
            ("sh", "-c", f"git rebase -q {rev} || git rebase --abort"): 1,
            ("git", "stash", "-q"): 1,
            ("git", "reset", "-q", "--hard", rev): 1,
            ("devml-git", "snapshot"): 5,
            ("devml-git", "commit", "-qam", message): 3,
            ("devml-git", "checkout"): 2,
            ("devml-git", "checkout", rev): 3,
            ("devml-git", "checkout", "--force", own): 3,
            ("devml-git", "checkout", rev, "--", model, "data"): 2,
            ("devml-git", "checkout", "--theirs", "--", model): 1,
            ("devml-git", "undo"): 3,
            ("devml-git", "rescue", "list"): 1,
            ("devml-git", "rescue", "restore", rng.choice("0123456789abcdef")): 2,
            ("devml-git", "status", "--json"): 3,
            ("devml-git", "init"): 1,
            ("devml-git", "doctor"): 1,
            ("dvc", "add", "-q", model): 3,
            ("dvc", "status", "-q"): 2,
            ("dvc", "checkout", "-q"): 1,
            ("dvc", "push", "-q"): 2,
            ("dvc", "pull", "-q"): 1,
        }
        return rng.choices(list(table), list(table.values()))[0]

    def look(self) -> None:
        """Kill whose time has come, and judge who has ended."""
        now = time.monotonic()
        for job in list(self.jobs):
            ended, status = os.waitpid(job.pid, os.WNOHANG)
            if ended:
                self.jobs.remove(job)
                self.judge(job, os.waitstatus_to_exitcode(status), now - job.began)
            elif job.dies_at is not None and now > job.dies_at and not job.killed:
                self.kill(job)
            elif now - job.began > PATIENCE:
                self.report.violations.append(
                    f"{job.name} in {job.place.name} hangs: {stacks(job)}"
                )
                os.killpg(job.pid, signal.SIGKILL)
                os.waitpid(job.pid, 0)
                self.jobs.remove(job)

    def kill(self, job: Job) -> None:
        job.killed = True
        self.report.killed += 1
        if job.dies_alone:  # the others of its group, down to the last git, go on
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(group(job.pid) or [job.pid]), signal.SIGKILL)
        else:
            os.killpg(job.pid, signal.SIGKILL)

    def judge(self, job: Job, status: int, seconds: float) -> None:
        said = job.log.read_bytes() if job.log.exists() else b""
        self.history.append(
            f"{job.place.name}: {job.name}: {status}, {job.began:.3f} to {job.began + seconds:.3f}"
            f"{' killed' if job.killed else ''}{said.decode('utf-8', 'replace')[:300]}"
        )
        self.look_for_lost()
        report = self.report
        report.done += 1
        report.longest = max(report.longest, seconds)
        if status:
            report.refused += not job.killed
            kind = " ".join(job.name.split()[:2]) if not job.name.startswith("sh") else "git commit"
            first = next(
                (
                    x
                    for x in said.decode("utf-8", "replace").splitlines()
                    if re.match("(devml-git: )?(error|fatal|ERROR)", x)
                ),
                "",
            )
            report.said[f"{kind}: {status}{' killed' if job.killed else ''}: {mask(first)}"] += 1
        if job.killed or job.name.startswith("dvc"):
            return
        bad = OURS.search(said) or status in {30, 70} or status < 0
        if bad or (status and not SAYS_WHY.search(said) and status != 1):
            text = said.decode("utf-8", "replace")
            report.violations.append(f"{job.name} in {job.place.name}: {status}: {text}")

    def look_for_lost(self) -> None:
        """Tell at once when a content is nowhere to be found, and who was at work then."""
        gone = self.kept.keys() - self.lying()
        gone = {o for o in gone if not (self.cache / "files/md5" / o[:2] / o[2:]).exists()}
        for oid in gone & self.unseen:
            written = self.kept.pop(oid)
            place = written.split("/")[0]
            about = [h for h in self.history if h.startswith(f"{place}:")][-5:]
            now = [f"{j.name} since {j.began:.3f}" for j in self.jobs if j.place.name == place]
            self.report.violations.append(
                "\n".join([f"{oid} is gone, written to {written}", *about, *now])
            )
        self.unseen = gone

    # -- the end -------------------------------------------------------------------------------

    def work(self) -> None:
        until = time.monotonic() + self.order.seconds
        started = 0
        while started < self.order.operations or (self.order.seconds and time.monotonic() < until):
            if len(self.jobs) < self.order.crowd:
                self.start()
                started += 1
            else:
                time.sleep(0.01)
            self.look()
            if started % 100 == 0 and self.order.seconds:
                self.quiet()
                self.oracle(f"after {started} processes")
                self.clear_locks()
            if self.report.violations:
                break
        self.quiet()

    def quiet(self) -> None:
        """Wait until all have ended, also what a killed process left running."""
        while self.jobs:
            self.look()
            time.sleep(0.01)
        until = time.monotonic() + PATIENCE
        while left := at_work(self.root):
            if time.monotonic() > until:
                self.report.violations.append(f"still running: {left}")
                return
            time.sleep(0.02)

    def oracle(self, when: str) -> None:
        found = wrong(self.places[0], self.kept.keys() - self.lying(), self.cache)
        for place in self.places[1:] if self.order.kind == "clones" else ():
            found += [f"{place.name}: {text}" for text in wrong(place, set(), self.cache)]
        listed = run(
            "git", "log", "--all", "--reflog", "--name-only", "--format=", cwd=self.places[0]
        )
        found += [f"committed: {x}" for x in listed.out.split() if re.search(TEMPORARY[1:], x)]
        self.report.violations += [f"{when}: {text}" for text in found]

    def lying(self) -> set[str]:
        return {
            md5(p.read_bytes())
            for place in self.places
            for top in ("models", "data")
            for p in (place / top).rglob("*")
            if p.is_file()
        }

    def finish(self) -> None:
        """Each place comes to order with what its user would do, at once and without waiting."""
        self.clear_locks()
        for place in self.places:
            half_way = self._git_dir(place) / "MERGE_HEAD"
            if half_way.exists():
                run("git", "reset", "-q", "--hard", cwd=place)
            run("git", "checkout", "-q", "HEAD", "--", ".", cwd=place)  # what dvc or git half wrote
            for argv in (
                ("devml-git", "checkout", "--force"),
                ("git", "add", "-A"),
                ("git", "commit", "-qm", "end", "--allow-empty"),
            ):
                self._must(argv, place)
            log = self._must(("devml-git", "status", "--json"), place)
            states = {a["path"]: a["state"] for a in json.loads(log)["artifacts"]} if log else {}
            if set(states.values()) - {"clean", "deleted"}:
                self.report.violations.append(f"at the end, {place.name}: {states}")
        self.oracle("at the end")

    def clear_locks(self) -> None:
        """Remove what git tells its users to remove when a git has died."""
        for place in self.places:
            git = self._git_dir(place)
            for lock in {
                *git.glob("*.lock"),
                *git.glob("*.lock.lock"),
                *git.glob("refs/**/*.lock"),
            }:
                self.report.locks += 1
                self.report.said[f"lock left: {lock.name} {lock.read_bytes()[:4]!r}"] += 1
                lock.unlink()

    def _git_dir(self, place: Path) -> Path:
        return Path(run("git", "rev-parse", "--absolute-git-dir", cwd=place).out.strip())

    def _must(self, argv: tuple[str, ...], place: Path) -> str:
        log = self.scratch / "log"
        log.unlink(missing_ok=True)
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            become(argv, place, log)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        text = log.read_text()
        if status or time.monotonic() - began > PATIENCE / 2:
            self.report.violations.append(f"at the end, {argv} in {place.name}: {status}: {text}")
            return ""
        return text


def become(argv: tuple[str, ...], place: Path, log: Path) -> None:
    """Be that process from here on; never returns."""
    status = 125
    try:
        os.setpgid(0, 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(place)
        os.environ["PWD"] = str(place)
        if argv[0] == "devml-git":
            from devml_git.cli import main as devml

            status = devml(list(argv[1:]))
        elif argv[0] == "dvc":
            from dvc.cli import main as dvc

            status = dvc(list(argv[1:]))
        else:
            os.execvp(argv[0], argv)
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status or 0)


def processes() -> Iterator[tuple[int, list[str]]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if stat[0] != "Z":
                    yield int(entry), stat


def group(leader: int) -> list[int]:
    return [pid for pid, stat in processes() if int(stat[2]) == leader]


def at_work(root: Path) -> list[str]:
    """Return the commands of other processes that are at work below a directory."""
    found = []
    for pid, _ in processes():
        with contextlib.suppress(OSError):
            if pid != os.getpid() and os.readlink(f"/proc/{pid}/cwd").startswith(f"{root}/"):
                found.append(
                    Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                )
    return found


def stacks(job: Job) -> list[str]:
    lines = []
    for pid in group(job.pid):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            waits = Path(f"/proc/{pid}/wchan").read_text()
            lines.append(f"{command} ({waits})")
    return [*lines, job.log.read_text()]


def mask(text: str) -> str:
    text = re.sub(r"/[^ ']*/", ".../", text)
    return re.sub(r"\b[0-9a-f]{7,40}\b", "*", text)[:140]


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    import dvc.cli
    import dvc.commands.add
    import dvc.repo  # noqa: F401

    import devml_git.cli.app
    import devml_git.events  # noqa: F401

    crowd = Crowd(order)
    crowd.work()
    if not crowd.report.violations:
        crowd.oracle("when all had ended")
    if not crowd.report.violations:
        crowd.finish()
    report: dict[str, Any] = asdict(crowd.report)
    report["said"] = crowd.report.said.most_common()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
