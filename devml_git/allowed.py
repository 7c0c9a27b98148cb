"""What of a `.dvc/config` in git may decide where DVC connects, and with what (P9).

A commit can write that file. So it may name a place and harmless settings; some more count once the
user trusts the remote; what names a program, a file, credentials, a certificate, a proxy, a key or
an agent counts in the user's own configuration only. The names are DVC 3.67's,
`dvc/config_schema.py`; one that is not listed here is the user's to give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAX_URL = 2000
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST = re.compile(r"(?!-)[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_USER = re.compile(r"(?!-)[A-Za-z0-9._+@-]{1,64}")
_PORT = re.compile(r"[0-9]{1,5}")
_BUCKETS = frozenset({"s3", "gs", "azure"})
_WEB = frozenset({"http", "https", "webdav", "webdavs"})
_BOOL = re.compile(r"true|false", re.IGNORECASE)
_TRUE = re.compile(r"true", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
_FEW = re.compile(r"[0-9]{1,3}")
_WORD = re.compile(r"[A-Za-z0-9._:/@+=,-]{1,200}")
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9._\[\]:-]{1,260}(/[A-Za-z0-9._/-]{0,200})?")

# Harmless: they choose how the place is spoken to, and nothing of the user's goes elsewhere. What
# says how objects are stored (acl, sse) matters to sending only, and sending is trusted with them.
_HARMLESS = {
    "region": re.compile(r"[A-Za-z0-9-]{1,63}"),
    "account_name": re.compile(r"[A-Za-z0-9]{1,64}"),
    "projectname": _WORD,
    "user": _USER,
    "port": _PORT,
    "method": re.compile(r"POST|PUT"),
    "type": _WORD,
    "shared": re.compile(r"group"),
    "acl": _WORD,
    "sse": _WORD,
    "sse_kms_key_id": _WORD,
    "sse_customer_algorithm": _WORD,
    "grant_read": _WORD,
    "grant_read_acp": _WORD,
    "grant_write_acp": _WORD,
    "grant_full_control": _WORD,
    "jobs": _FEW,
    "checksum_jobs": _FEW,
    "max_sessions": _FEW,
    "ssl_verify": _TRUE,
    "use_ssl": _TRUE,
    **dict.fromkeys(("timeout", "read_timeout", "connect_timeout", "connection_timeout"), _NUMBER),
    **dict.fromkeys(
        ("verify", "allow_anonymous_login", "version_aware", "worktree", "no_traverse",
         "listobjects", "protected", "slow_link_warning", "ask_password", "ask_passphrase",
         "exclude_environment_credential", "exclude_visual_studio_code_credential",
         "exclude_shared_token_cache_credential", "exclude_managed_identity_credential"),
        _BOOL,
    ),
}  # fmt: skip
_TUNING = frozenset(
    {"jobs", "checksum_jobs", "max_sessions", "timeout", "read_timeout", "connect_timeout",
     "connection_timeout", "verify", "no_traverse", "listobjects", "slow_link_warning"}
)  # fmt: skip
# They send the user's own rights to a place that the repository chose, or weaken what protects it
_TRUSTED = {
    "endpointurl": _PLAIN_URL,
    "profile": _WORD,
    "tenant_id": re.compile(r"[A-Za-z0-9.-]{1,100}"),
    "client_id": re.compile(r"[A-Za-z0-9.-]{1,100}"),
    "auth": re.compile(r"basic|digest|custom", re.IGNORECASE),
    "custom_auth_header": re.compile(r"[A-Za-z0-9-]{1,100}"),
    "gss_auth": _BOOL,
    "ssl_verify": _BOOL,
    "use_ssl": _BOOL,
}
# What proves the user to a remote; each is the user's own, never the repository's
CREDENTIALS = frozenset(
    {"password", "passphrase", "token", "bearer_token_command", "keyfile", "cert_path", "key_path",
     "custom_auth_header"}
)  # fmt: skip
# Files that an option names (DVC 3.67 `dvc/config.py`, _map_dirs)
FILES = frozenset(
    {"credentialpath", "configpath", "keyfile", "cert_path", "key_path",
     "gdrive_user_credentials_file", "gdrive_service_account_json_file_path"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """A remote's address in its parts: `scheme` "" is a directory; `host` a bucket, for those."""

    scheme: str
    host: str = ""
    port: str = ""
    user: str = ""
    secret: bool = False


def is_allowed(option: str, value: str) -> bool:
    """Whether a value counts that a commit gives an option of a remote."""
    return is_harmless(option, value) or _fits(_TRUSTED.get(option), value)


def is_harmless(option: str, value: str) -> bool:
    """Whether a value counts also where nobody has trusted the remote."""
    return _fits(_HARMLESS.get(option), value)


def is_tuning(option: str, value: str) -> bool:
    """Whether a value only says how fast, or how carefully, and never where to or for whom."""
    return option in _TUNING and is_harmless(option, value)


def _fits(pattern: re.Pattern[str] | None, value: str) -> bool:
    return pattern is not None and pattern.fullmatch(value) is not None


def scheme_of(url: str) -> str:
    """Return an address's scheme in small letters, "" for a directory."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def parsed(url: str) -> Address | None:
    """Return the parts of an address that a commit may give, or None for any other.

    Schemes are those of product.md: s3, gs, azure, ssh, http(s), webdav(s), or none, a directory.
    """
    if len(url) > _MAX_URL or not url.isprintable():
        return None
    scheme = scheme_of(url)
    if not scheme:
        return None if "://" in url or "::" in url else Address("")
    if scheme not in _BUCKETS | _WEB | {"ssh"} or set(url) & set("?#\\ \"'<>^`{|}"):
        return None
    netloc = url.partition("://")[2].partition("/")[0]
    account, _, place = netloc.rpartition("@")
    user, _, secret = account.partition(":")
    host, port = _host_and_port(place)
    fits = _fits(_BUCKET if scheme in _BUCKETS else _HOST, host)
    if not fits or (port and not _fits(_PORT, port)) or (user and not _fits(_USER, user)):
        return None
    return Address(scheme, host, port, user, secret=bool(secret))


def _host_and_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, _, rest = place.partition("]")
        return f"{host}]", rest.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


def without_secret(url: str) -> str:
    """Return an address without the password in it."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", url)
