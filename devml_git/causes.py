"""What goes wrong with a DVC remote, in words: from whatever a file system or a cloud raises.

Their libraries are not imported here: an error is known by its class's name, its number or its
text. What may be over in a moment (`Passing`) is told from what only the user can mend.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from typing import TYPE_CHECKING, Any

from devml_git import gate
from devml_git.errors import DevmlError, DvcFailed
from devml_git.escaping import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHAIN = 8  # causes of an error that are looked at
_NOISY = ("dvc", "asyncssh", "botocore", "aiobotocore", "s3fs", "sshfs")
_AGAIN = "run the same command again: it goes on where this one stopped"
# RFC 9110 15.5.9, 15.6; RFC 6585 4: what a server says when it can do it later
_LATER_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_LATER_WORDS = (
    "SlowDown", "InternalError", "RequestTimeout", "ServiceUnavailable", "TooManyRequests",
    "Throttling", "BadGateway",
)  # fmt: skip
_CUT = frozenset(
    {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ETIMEDOUT,
     errno.EHOSTUNREACH, errno.ENETUNREACH}
)  # fmt: skip


class Passing(DvcFailed):
    """A fault that may be over in a moment; `after`: seconds the remote asks to be left alone."""

    def __init__(self, message: str, *, hint: str | None = None, after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.after = after


def silence() -> None:
    """Keep DVC and its libraries from logging errors themselves, and from telemetry."""
    import logging

    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def translated(name: str, *, asks: str = "") -> Iterator[None]:
    """Translate whatever DVC, a file system or a cloud's library raises, for the remote `name`.

    `asks` is the setting by which DVC would ask the user for a password, if there is one.
    """
    try:
        yield
    except DevmlError:
        raise
    except Exception as e:
        raise explained(e, name, asks) from e


def explained(raised: BaseException, name: str, asks: str = "") -> DvcFailed:
    """Return the error to be raised for one that a remote's library has raised."""
    chain: list[BaseException] = [raised]
    while len(chain) < _CHAIN and (then := chain[-1].__cause__ or chain[-1].__context__):
        chain.append(then)
    fault = _Fault(chain)
    words, hint = fault.cause(name)
    if asks and fault.is_denied:
        return no_asking(name, asks)
    message = f"the DVC remote {gate.shown(name)} {words}"
    if fault.passes:
        return Passing(message, hint=hint, after=fault.after())
    return DvcFailed(message, hint=hint)


_NO_BUCKET = re.compile(
    r"(bucket|container) does not exist|no such (bucket|container)", re.IGNORECASE
)


def is_absent(error: FileNotFoundError) -> bool:
    """Return whether the error says that nothing is there, and not that nobody could say so.

    fsspec's HTTP raises it for whatever goes wrong when it asks for a file, refused connections
    and 500 included, with the fault as its cause (2026.9 `http.py`, `_info`). S3's raises it where
    the whole bucket is not there, too: that is a wrong address, and no empty remote.
    """
    if _NO_BUCKET.search(str(error)):
        return False
    cause = error.__cause__
    if cause is None or isinstance(cause, (FileNotFoundError, LookupError)):
        return True
    status = _status(cause)
    if status is not None:
        return status in {404, 410}
    return "NoSuch" in type(cause).__name__ or "NotFound" in type(cause).__name__


class _Fault:
    """An error and its causes, outermost first."""

    def __init__(self, chain: Sequence[BaseException]) -> None:
        self.chain = chain
        self.kinds = " ".join(k.__name__ for e in chain for k in type(e).__mro__[:-2])
        self.text = " | ".join(str(e).strip() for e in chain if str(e).strip())
        self.numbers = {e.errno for e in chain if isinstance(e, OSError)}
        self.statuses = {s for e in chain if (s := _status(e)) is not None}

    def _is(self, *kinds: str) -> bool:
        return any(kind in self.kinds for kind in kinds)

    def _says(self, *words: str) -> bool:
        """Whether one of these stands in the text: a number by itself, since an oid may have it."""
        return any(
            re.search(rf"\b{word}\b", self.text) if word.isdigit() else word in self.text
            for word in words
        )

    @property
    def _full(self) -> bool:
        full = {errno.ENOSPC, errno.EDQUOT} & self.numbers or 507 in self.statuses  # noqa: PLR2004
        return bool(full) or self._says("QuotaExceeded", "Insufficient Storage", "507")

    @property
    def _unknown_host(self) -> bool:
        return self._is("HostKey") or self._says("not trusted")

    @property
    def _nowhere(self) -> bool:
        return self._is("gaierror", "DNSError") or self._says("Name or service not known")

    @property
    def is_denied(self) -> bool:
        return (
            self._is("Auth", "PermissionDenied", "PermissionError", "Credential", "Forbidden")
            or bool({errno.EACCES, errno.EPERM, errno.EROFS} & self.numbers)
            or bool({401, 403} & self.statuses)
            or self._says("403", "401", "Forbidden", "AccessDenied", "InvalidAccessKey",
                          "credentials", "TooSkewed", "ExpiredToken")
        )  # fmt: skip

    @property
    def _later(self) -> bool:
        return bool(_LATER_STATUS & self.statuses) or self._says(*_LATER_WORDS)

    @property
    def _slow(self) -> bool:
        return self._is("Timeout") or errno.ETIMEDOUT in self.numbers

    @property
    def _cut(self) -> bool:
        broken = ("Connection", "ServerDisconnected", "RemoteProtocolError", "ReadError",
                  "WriteError", "IncompleteRead", "ClientPayloadError", "ClientOSError",
                  "ConnectError", "ChannelOpenError")  # fmt: skip
        return self._is(*broken) or bool(_CUT & self.numbers)

    @property
    def passes(self) -> bool:
        """Whether the same request may go through in a moment."""
        stays = self._full or self._unknown_host or self._nowhere or self._is("MissingDeps")
        return not stays and (self._later or (not self.is_denied and (self._slow or self._cut)))

    def after(self) -> float:
        """Return the seconds that the remote asks for (RFC 9110 10.2.3, Retry-After), or 0."""
        return max((_retry_after(e) for e in self.chain), default=0.0)

    def cause(self, name: str) -> tuple[str, str]:  # noqa: PLR0911 - one line a cause
        """Return what went wrong, and the command that helps."""
        first = next((str(e).strip().splitlines()[0] for e in self.chain if str(e).strip()), "")
        why = gate.shown(redacted(first or self.kinds), 300)
        if self._is("MissingDeps", "ModuleNotFound"):
            return f"needs more packages: {why}", "pip install 'dvc[s3]', 'dvc[ssh]'..."
        if self._full:
            return f"is full: {why}", "make space there, then run the same command again"
        if self._unknown_host:
            return f"is a host that ssh does not know: {why}", "ssh to it once, and check its key"
        if self._later:
            return f"is overloaded or broken just now: {why}", _AGAIN
        if self.is_denied:
            return f"refuses: {why}", _credentials_hint(name, self.text)
        if self._nowhere:
            return f"cannot be found: {why}", "check its address: dvc remote list"
        if self._slow:
            return f"did not answer in time: {why}", _AGAIN
        if self._cut:
            return f"cannot be reached: {why}", "check the network and the address: dvc remote list"
        if self._is("FileNotFoundError"):
            return f"has no such place: {why}", "check its address: dvc remote list"
        return f"failed: {why}", "run the same command again; dvc remote list   shows the address"


def no_asking(name: str, setting: str) -> DvcFailed:
    """Return the error for a remote that needs a password which DVC would ask the user for."""
    option = setting.removeprefix("ask_")
    return DvcFailed(
        f"the DVC remote {gate.shown(name)} is set to ask for a {option} ({setting}); "
        "devml-git never asks: a hook has no terminal",
        hint=f"dvc remote modify --local {gate.quoted(name)} {option} ...   "
        "(for ssh, an agent does as well: ssh-add)",
    )


def _credentials_hint(name: str, said: str) -> str:
    """Return what helps where a remote refuses."""
    if "TooSkewed" in said:
        return "set this machine's clock right: it signs with it"
    return f"dvc remote modify --local {gate.quoted(name)} ...   (credentials, rights)"


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of aiohttp, httpx, webdav4 or botocore carries."""
    said: Any = getattr(error, "status", None) or getattr(error, "status_code", None)
    response: Any = getattr(error, "response", None)
    if said is None and isinstance(response, dict):
        said = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    elif said is None:
        said = getattr(response, "status_code", None)
    return said if isinstance(said, int) else None


def _retry_after(error: BaseException) -> float:
    import email.utils

    response: Any = getattr(error, "response", None)
    headers: Any = getattr(error, "headers", None) or getattr(response, "headers", None)
    if isinstance(response, dict):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders")
    try:
        said = str((headers or {}).get("retry-after") or (headers or {}).get("Retry-After") or "")
    except (AttributeError, TypeError):
        return 0.0
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", said):
        return float(said)
    with contextlib.suppress(TypeError, ValueError):
        return max(email.utils.parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    return 0.0
