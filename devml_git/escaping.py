"""How a stranger's text is written for people: on a terminal, in an error, in a command to copy.

A name, message or value from a repository may hold what a terminal obeys: ESC and the C1 controls
(ECMA-48), carriage returns, and the bidi controls of Unicode (Annex 9) that show another order of
letters than there is (CVE-2021-42574). Addresses may hold passwords, which nobody is to see.
Nothing here raises.
"""

from __future__ import annotations

import os
import re
import shlex

LINE = 1 << 16  # characters of a line that anybody is shown

# C0, DEL, C1, line and paragraph separators, all of the bidi controls, and halves of a letter,
# which stand for bytes that are no UTF-8
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NOT_IN_JSON = re.compile(f"(?!\n){_UNSEEN.pattern}")
# A newline of ours: before an indented line. Any other could forge a line.
_LISTED = re.compile(r"\n(?=  )")
# What follows an address's `?` and opens it: Azure's SAS, signed URLs of S3 and Google
_IN_QUERY = (
    "(?:sig|signature|x-amz-signature|x-amz-security-token|x-goog-signature|token|access_token"
    "|private_token|client_secret|password|api_?key)"
)
# A password may have an unescaped `/`, `?` or `#` in it; a colon before a port begins none
_LOOSE = r"[^/?#\s:@]*:(?!\d{1,5}(?:[/?#\s]|\Z))\S{0,300}"
_USER_INFO = re.compile(rf"(://)(?:{_LOOSE}|[^/?#\s]*)@")
_PASSWORD = re.compile(rf"://(?:[^/?#\s:@]*(?::|%3a)[^/?#\s]+|{_LOOSE})@", re.IGNORECASE)
# No password, and a user nobody is called: a token in its place
_TOKEN = re.compile(
    r"(?:https?|webdavs?)://(?=[^/?#\s:@]*[0-9])(?=[^/?#\s:@]*[a-z])[\w.~+-]{20,}:?@", re.IGNORECASE
)
_QUERY = re.compile(rf"([?&;]{_IN_QUERY}=)[^&;#\s]+", re.IGNORECASE)
# Beyond the letters of every language, these mean nothing to a shell between $' and '
_HARMLESS = re.compile(r"[A-Za-z0-9@%+=:,./_ -]|[^\x00-\x7f]")


def shown(text: object, limit: int = 120) -> str:
    """Return text fit to be shown: control characters escaped, length bounded."""
    begin = str(text)[: limit + 1]  # a stranger's text may be megabytes
    out = _UNSEEN.sub(lambda m: m.group().encode("unicode_escape").decode(), begin)
    return out if len(out) <= limit else out[: limit - 3] + "..."


def shown_lines(text: object) -> str:
    """Return a whole message fit to be shown: `shown`, but an indented list stays on its lines."""
    return "\n".join(shown(line, LINE) for line in _LISTED.split(str(text)))


def shown_json(text: str) -> str:
    r"""Return JSON fit to be shown: controls that JSON lets stand are written as `\uXXXX`.

    JSON's own newlines stay: those in its strings are escaped already (RFC 8259).
    """
    return _NOT_IN_JSON.sub(lambda m: f"\\u{ord(m.group()):04x}", text)


def opens(address: str) -> str:
    """Return what in an address opens it to everybody who reads it, or ""."""
    found = _PASSWORD.search(address) or _TOKEN.search(address) or _QUERY.search(address)
    return found.group() if found else ""


def redacted(text: str) -> str:
    """Return an address, or words with addresses in them, without what opens it."""
    return _QUERY.sub(r"\1***", _USER_INFO.sub(r"\1***@", text))


def quoted(name: object) -> str:
    r"""Return a name as one word of a command to copy, for bash, zsh and other POSIX shells.

    Names with control characters, or bytes that are no UTF-8, are written as `$'\033...'`
    (POSIX.1-2024, XCU 2.2.4; bash, zsh, ksh): exactly those bytes, and nothing a terminal obeys.
    A path that a program would take for an option (`-rf`) gets a `./` before it.
    """
    text = f"./{name}" if str(name).startswith("-") else str(name)
    if _UNSEEN.search(text):
        return "$'" + "".join(c if _is_plain(c) else _octal(c) for c in text) + "'"
    word = shlex.quote(text)
    return f"'{word}'" if word.startswith("=") else word  # zsh takes =ls for /bin/ls


def pathspec(path: object) -> str:
    """Return a path, `quoted`, as git's commands take it: `*` and `[` in it match nothing else."""
    text = str(path)
    return quoted(f":(literal){text}" if text.startswith(":") or set(text) & set("*?[\\") else text)


def _is_plain(letter: str) -> bool:
    return bool(_HARMLESS.match(letter)) and not _UNSEEN.match(letter)


def _octal(letter: str) -> str:
    try:
        data = os.fsencode(letter)
    except UnicodeEncodeError:  # half a letter, from JSON or YAML: no file is called so
        data = letter.encode("utf-8", "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in data)
