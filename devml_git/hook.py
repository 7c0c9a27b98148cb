"""The hot path: what the shim starts when git calls a hook. Standard library until it is sure.

Run by `python -I`, as `main(EVENT ARGS...)`, from the worktree's root. Never exits with 1,
126 or 127, which the shim takes for "this Python, or the package in it, is not there any more".
"""

from __future__ import annotations

import os
import sys

# Commands of git that run another hook of ours later, after HEAD has moved (git-facts.md)
_LATER = frozenset(
    {"checkout", "switch", "merge", "pull", "rebase", "worktree", "bisect", "commit", "am",
     "clone", "submodule"}
)  # fmt: skip
_ENDS_HERE = frozenset({"--no-commit", "--abort", "--quit", "--skip", "--reset", "--squash"})
_WITH_VALUE = frozenset(
    {"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--super-prefix"}
)  # of `git` itself, before the command


def main(argv: list[str] | None = None) -> int:
    """Run one hook event; return git's exit status for it."""
    args = sys.argv[1:] if argv is None else argv
    if not args:
        return 0
    event = args[0]
    if os.environ.get("DEVML_GIT_ACTIVE") and event != "fetch":  # our own child asks for that
        return 0
    git_pid = os.environ.get("DEVML_GIT_PARENT", "")
    command = command_of(git_pid)
    if event == "post-index-change" and not _acts_now(command):
        return 0
    return _run(args, git_pid, command)


def _acts_now(command: list[str]) -> bool:
    """post-index-change runs before HEAD moves: act only where no later hook will.

    A Ctrl-C here would break git half-way, so it is not listened to. The shim knows when git is
    about to stop for the user: at a conflict, or before code of his runs in a rebase.
    """
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.environ.pop("DEVML_GIT_STOPS", None):
        return True
    verb, words = verb_of(command), command[: command.index("--")] if "--" in command else command
    if verb == "bisect" and "reset" in words:
        return True
    return verb not in _LATER or bool(_ENDS_HERE.intersection(words))


def calling_git() -> str:
    """Return the process id of the git that (through whatever) runs us, or "" (Linux only)."""
    pid = os.getpid()
    try:
        while pid:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
                status = f.read().splitlines()
            if status[0] == "Name:\tgit":
                return str(pid)
            pid = int(next(line for line in status if line.startswith("PPid:")).split()[1])
    except (OSError, StopIteration):
        pass
    return ""


def command_of(git_pid: str) -> list[str]:
    """Return the arguments of the git process that runs the hook, or [] where unknown."""
    try:
        with open(f"/proc/{int(git_pid)}/cmdline", "rb") as f:
            return [w.decode("utf-8", "replace") for w in f.read().split(b"\0") if w]
    except ValueError:
        return []
    except OSError:
        from devml_git.plumbing import command_by_ps

        return command_by_ps(git_pid)


def verb_of(words: list[str]) -> str:
    """Return git's command in its argument list: `git -C dir -c a=b checkout x` is checkout."""
    rest = iter(words[1:])
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


def _run(args: list[str], git_pid: str, command: list[str]) -> int:
    event = args[0]
    blocking = event.startswith("pre-")
    os.environ["DEVML_GIT_ACTIVE"] = "1"
    lines = _pushed(args) if event == "pre-push" else ""
    try:
        from devml_git import bounds, events
        from devml_git.errors import DevmlError, GitFailed, NotARepository
        from devml_git.output import Output
        from devml_git.place import refused_by_the_system
        from devml_git.plumbing import Git
        from devml_git.workspace import Workspace

        _make_absolute()
        bounds.begin()
        status = 0
        try:
            progress = Output().progress()
            try:
                here = Git.discover()
            except NotARepository as e:  # git has started us in one, but cannot read it just now
                raise GitFailed(e.message, hint="git status") from e
            for git in [here] if event == "fetch" else here.projects():
                bounds.renew()
                with Workspace(git, progress=progress) as ws:
                    if event == "fetch":
                        events.fetch(ws)
                        return 0
                    if event == "pre-push":
                        told = events.pre_push(ws, args[1:], lines)
                    else:
                        told = events.run(
                            ws, args, git_pid=git_pid, command=command, verb=verb_of(command)
                        )
                _say(told.lines)
                status = status or told.status
            return status if blocking else 0
        except NotARepository:
            return 0
        except (DevmlError, OSError) as raised:
            why = raised if isinstance(raised, DevmlError) else refused_by_the_system(raised)
            if why is None:
                raise
            _say([f"devml-git: error: {why.message}"])
            _say([f"devml-git: hint: {why.hint}"] if why.hint else [])
            return why.exit_code if blocking else 0
    except KeyboardInterrupt:
        return 130 if blocking else 0
    except Exception as e:  # noqa: BLE001 - the funnel
        if os.environ.get("DEVML_GIT_TRACEBACK"):
            import traceback

            _say(traceback.format_exc().splitlines())
        _say([f"devml-git: internal error in {event}: {type(e).__name__}: {e}"])
        return 70 if blocking else 0


def _pushed(args: list[str]) -> str:
    """Return git's lines of what is pushed: the pre-commit framework has read them itself.

    It tells of one ref in its environment, without an id where all of it is new, and of the remote.
    """
    env = os.environ
    local = env.get("PRE_COMMIT_LOCAL_BRANCH")
    if not local:
        return "" if sys.stdin.isatty() else sys.stdin.read()
    args[1:] = [env.get("PRE_COMMIT_REMOTE_NAME", ""), env.get("PRE_COMMIT_REMOTE_URL", "")]
    new, remote = env.get("PRE_COMMIT_TO_REF") or local, env.get("PRE_COMMIT_REMOTE_BRANCH") or "?"
    return f"{local} {new} {remote} {'0' * 40}\n"


def _make_absolute() -> None:
    """Git names its places relative to the worktree's root; we also run git in projects below."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"):
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.environ[name])


def _say(lines: list[str]) -> None:
    from devml_git.escaping import shown_lines  # once more: a name that nobody escaped does no harm

    for line in lines:
        data = shown_lines(line).encode() + b"\n"
        try:
            sys.stderr.buffer.write(data)
            sys.stderr.flush()
        except (OSError, ValueError):
            return


if __name__ == "__main__":
    sys.exit(main())
