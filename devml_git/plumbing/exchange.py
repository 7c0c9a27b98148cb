"""Git's own remotes: what they have, what they are asked for."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from typing import TYPE_CHECKING

from devml_git.errors import GitFailed
from devml_git.plumbing.past import Past
from devml_git.plumbing.programs import decode, environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ASK_SECONDS = 20  # for a git remote to tell its refs
_FETCH_SECONDS = 120  # for what a partial clone has left out


class Exchange(Past):
    """Calls that speak to another repository."""

    def remotes(self) -> list[str]:
        """Return the names of the git remotes."""
        return self.out("remote").splitlines()

    def refs_of_remote(self, remote: str) -> list[str]:
        """Return the ids of a git remote's refs (`remote`: name or URL); none if it says nothing.

        Nothing is asked on a terminal, and not for longer than ASK_SECONDS.
        """
        env = self._unattended()
        argv = ["git", "ls-remote", "--refs", "--", remote]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                argv, cwd=self.top, env=env, check=True, timeout=ASK_SECONDS,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            return [line.split("\t")[0] for line in decode(done.stdout).splitlines()]
        return []

    def promisor(self) -> str:
        """Return the git remote that a partial clone fetches missing objects from; else ""."""
        promised = re.compile(r"remote\.(.*)\.promisor\Z")
        named = self.config("extensions.partialClone")
        found = [
            m[1] for k, v in self._settings.items() if (m := promised.match(k)) and v == "true"
        ]
        return named or (found[0] if found else "")

    def fetch_promised(self, remote: str, ids: Sequence[str]) -> bool:
        """Fetch objects that a partial clone left out, in one go; return whether they came.

        Nothing is asked on a terminal.
        """
        argv = ["git", "-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-tags",
                "--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none",
                "--stdin", "--", remote]  # fmt: skip
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                argv, cwd=self.top, env=self._unattended(), check=True, timeout=_FETCH_SECONDS,
                input="".join(f"{i}\n" for i in ids).encode(), stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            return True
        return False

    def _unattended(self) -> dict[str, str]:
        """Return an environment in which ssh asks nothing on a terminal."""
        ssh = os.environ.get("GIT_SSH_COMMAND") or self.config("core.sshCommand") or "ssh"
        return self._environment({"GIT_SSH_COMMAND": f"{ssh} -oBatchMode=yes"})

    def fetch(self, args: Sequence[str], *, cwd: Path) -> None:
        """`git fetch` with the user's terminal. Raises GitFailed."""
        if self.interactive(["fetch", *args], cwd=cwd):
            raise GitFailed("git fetch failed", hint="git remote -v")

    def dry_push(self, args: Sequence[str], *, cwd: Path) -> str:
        """Return what `git push --dry-run --porcelain` says of a push. Raises GitFailed."""
        cut = args.index("--") if "--" in args else len(args)
        told = ("--dry-run", "--porcelain", "--no-verify", "--no-quiet")  # after a -q of the user's
        argv = ["git", "push", *args[:cut], *told, *args[cut:]]
        done = subprocess.run(argv, cwd=cwd, env=environment(), stdout=subprocess.PIPE, check=False)
        text = decode(done.stdout)
        if done.returncode:
            why = "git push would fail, so nothing was uploaded"
            raise GitFailed(why, argv=tuple(argv), status=done.returncode)
        return text
