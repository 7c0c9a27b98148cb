"""Git's configuration: read at once, written under git's own lock."""

from __future__ import annotations

import os
import re
import time
from functools import cached_property

from devml_git.errors import GitFailed, UsageError
from devml_git.gate import shown
from devml_git.plumbing.calls import Calls
from devml_git.plumbing.programs import decode

_CONFIG_SECONDS = 2.0  # git itself does not wait at all for another that writes its configuration


class Settings(Calls):
    """Git's configuration of a repository, as this process found it."""

    def config(self, key: str) -> str | None:
        """Return a configuration value, or None when it is not set."""
        section, _, rest = key.partition(".")
        middle, dot, name = rest.rpartition(".")
        return self._settings.get(f"{section.lower()}.{middle}{dot}{name.lower()}")

    @cached_property
    def _settings(self) -> dict[str, str]:
        """All of git's configuration, as this process found it; the last of several values."""
        return dict(line.partition("\n")[::2] for line in self.names("config", "--list", "-z"))

    def seconds(self, key: str, default: float) -> float:
        """Return a setting in whole seconds. Raises UsageError for one that is none."""
        said = self.config(key)
        if said is None:
            return default
        if not re.fullmatch(r"[1-9][0-9]{0,5}", said):
            raise UsageError(
                f"{key} '{shown(said)}' is no number of seconds",
                hint=f"git config {key} {default:.0f}",
            )
        return float(said)

    def pager(self) -> str:
        """Return the command that shows long answers, as git has it; "" or "cat" for none.

        `pager.devml-git` may be a command, or false.
        """
        own = self.config("pager.devml-git") or ""
        if own.lower() in {"false", "no", "off", "0"}:
            return ""
        if own.lower() not in {"", "true", "yes", "on", "1"} and "GIT_PAGER" not in os.environ:
            return own
        status, out = self.raw("var", "GIT_PAGER", ok=(0, 1, 128))
        return "" if status else decode(out).strip()

    def config_path(self, key: str) -> str | None:
        """Return a configuration value with `~` expanded as git does, or None."""
        status, out = self.raw("config", "--type=path", "--get", key, ok=(0, 1))
        return None if status else decode(out).rstrip("\n")

    def set_config(self, key: str, value: str) -> None:
        """Set a value in this repository's own configuration, if it differs."""
        if self.config(key) != value:
            self._configure(key, value)

    def unset_config(self, key: str) -> None:
        """Remove a value from this repository's own configuration."""
        self._configure("--unset-all", key)

    def _configure(self, *args: str) -> None:
        until = time.monotonic() + _CONFIG_SECONDS
        while True:
            try:
                self.raw("config", "--local", *args, ok=(0, 5))  # 5: it was not set
                break
            except GitFailed as e:
                if "could not lock config file" not in e.stderr or time.monotonic() > until:
                    raise
                time.sleep(0.02)
        self.__dict__.pop("_settings", None)
