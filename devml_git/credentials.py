"""What in a `.dvc/config` is a credential: by DVC's option, in an address, or by its looks.

No value that is found is ever told: findings name where it stands, and the commands that move it
to `.dvc/config.local`, which git ignores. Options are those of DVC 3.67 (`dvc/config_schema.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devml_git.bounds import MAX_CONFIG_BYTES
from devml_git.escaping import opens
from devml_git.gate import pathspec, quoted, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from devml_git.plumbing import Git, IndexEntry

CONFIG = ".dvc/config"
PRIVATE = ".dvc/config.local"
ALLOWED_KEY = "devml.allowCredentials"
_SHOWN = 4
_AROUND = "'\"\u200b\ufeff"
_LINES = 200  # of one value
_LARGEST = 1 << 20  # characters of a configuration that are looked at

SECRET_OPTIONS = frozenset(
    {"password", "passphrase", "access_key_id", "secret_access_key", "session_token",
     "sse_customer_key", "token", "connection_string", "sas_token", "account_key", "client_secret",
     "oss_key_id", "oss_key_secret", "gdrive_client_secret"}
)  # fmt: skip
# Under a name that is none of DVC's: how others call it, and how it is mistyped
_SECRET_NAME = re.compile(
    r"(?!ask_)(?:\w*[_.-])?(?:pass|passw(?:or)?d|passphrase|pwd|secret|token|credentials?"
    r"|(?:api|access|account|auth|private|secret)[_-]?key(?:[_-]?id)?)\Z"
)
# As their makers document them: AWS, GitHub, GitLab, Slack, Hugging Face, Google, Azure, JWT (RFC
# 7519), private keys (RFC 7468)
_SHAPES = {
    "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}",
    "a GitLab token": r"\bgl(?:pat|dt|ptt|rt|cbt|soat)-[\w-]{20,}",
    "a Slack token": r"\bxox[abeoprs]-[\w-]{10,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "a Google key": r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}",
    "an Azure key": r"\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=[^;\s]{16,}",
    "a web token": r"\beyJ[\w-]{8,300}\.eyJ",
    "a private key": r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY|\"private_key\"",
}
_SHAPE = re.compile("|".join(f"(?P<s{i}>{p})" for i, p in enumerate(_SHAPES.values())))
_REMOTE = re.compile(r'remote\s*"(.*)"\Z')
# A value that was commented out and stays one: no example's `<password>`, `your-key`, `xxxxxxxx`
_MEANT = re.compile(r"(?![$<{*.]|(?:my|your|the|some|example|secret|xxxx))\S{6,}\Z", re.IGNORECASE)
# What git may be joining to HEAD: there already, so no commit of the user's brings it
_JOINED = ("HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD")


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential: its line, section (`remote "x"`) and option, "" where it stands alone.

    `what` says by what it is known. `value` is compared, and told to nobody.
    """

    line: int
    section: str
    option: str
    what: str
    value: str = field(repr=False)

    def __str__(self) -> str:
        remote = _REMOTE.match(self.section)
        place = f"remote {remote[1]}" if remote else self.section
        named = f"{place}: {self.option}" if self.option else f"line {self.line}"
        return shown(f"{named} ({self.what})" if self.what else named)

    def move(self, file: str = CONFIG) -> str:
        """Return the commands that move it to `.dvc/config.local`, with VALUE in its place.

        `file` are the settings, as seen from the worktree's root, where the commands are typed.
        """
        remote = _REMOTE.match(self.section)
        known = self.option in SECRET_OPTIONS or self.what  # DVC takes no other
        if not self.option or not known or not (remote or self.section):
            return f"take line {self.line} out of {shown(file)}"
        if remote:
            word = f"{quoted(remote[1])} {quoted(self.option)}"
            private, unset = f"dvc remote modify --local {word}", "dvc remote modify --unset"
            plain = f"dvc remote modify {word}"
        else:
            name = re.sub(r'\s*"(.*)"\Z', r".\1", self.section)
            word = quoted(f"{name}.{self.option}")
            private, unset = f"dvc config --local {word}", "dvc config --unset"
            plain = f"dvc config {word}"
        # a remote without an address is none, and DVC takes it for broken
        back = f"{plain} ADDRESS-WITHOUT-IT" if self.option == "url" else f"{unset} {word}"
        steps = [f"{private} VALUE", back]
        project = file.removesuffix(CONFIG)
        if not project:
            return "; ".join(steps)
        return f"({' && '.join([f'cd {quoted(project)}', *steps])})"


def found_in(text: str) -> Iterator[Credential]:
    """Yield the credentials in the text of a DVC configuration, also where it is malformed.

    Line by line, as ConfigObj lays it out, so that no text is too strange to be looked at, and
    comments, too: git keeps them as well.
    """
    section = ""
    lines = text[:_LARGEST].splitlines()
    for n, line in enumerate(lines, 1):
        shape = _SHAPE.search(line)
        what = list(_SHAPES)[int(str(shape.lastgroup)[1:])] if shape else ""
        told = shape.group() if shape else ""
        if shape and told.startswith("-"):
            told = "\n".join(_up_to("-----END ", lines[n - 1 : n + _LINES]))  # RFC 7468
        name, equals, value = (_bare(part) for part in line.partition("="))
        if name.startswith("["):
            section = line[: line.rfind("]")].strip(" \t[]'")
        is_comment = name.startswith(("#", ";"))
        commented = name.lstrip("#; \t").lower() if is_comment else ""
        if name.startswith("[") or is_comment or not equals:
            name = ""
        option = name.lower()
        if not what and (name or is_comment) and (address := opens(value)):
            what, told = "in its address", address
        if not what and commented in SECRET_OPTIONS and _MEANT.match(value):
            what, told = f"{commented}, commented out", value
        said = _said(lines, n - 1)
        secret = option in SECRET_OPTIONS or (_SECRET_NAME.match(option) and _MEANT.match(said))
        if what or (secret and said):
            yield Credential(n, section, option, what, told or said)


def _bare(word: str) -> str:
    """Return a word without the quotes and (Unicode's) spaces around it."""
    return word.strip().strip(_AROUND).strip()


def _said(lines: Sequence[str], n: int) -> str:
    """Return the value that begins in a line: between triple quotes it may go on below."""
    said = lines[n].partition("=")[2].strip()
    quotes = said[:3]
    if quotes not in {"'''", '"""'} or quotes in said[3:]:
        return _bare(said)
    return _bare("\n".join([said, *_up_to(quotes, lines[n + 1 : n + _LINES])]))


def _up_to(end: str, lines: Sequence[str]) -> Sequence[str]:
    """Return the lines up to the first that has `end` in it."""
    last = next((i for i, line in enumerate(lines) if end in line), len(lines))
    return lines[: last + 1]


def committed(git: Git) -> list[Credential]:
    """Return the credentials that HEAD's `.dvc/config` has."""
    return list(found_in(text_at(git, "HEAD", CONFIG)))


def text_at(git: Git, rev: str, path: str) -> str:
    """Return settings of a revision; nothing where none can be read."""
    return (git.data_at(rev, path, MAX_CONFIG_BYTES) or b"").decode("utf-8", "replace")


def staged(git: Git, entries: Sequence[IndexEntry]) -> tuple[list[str], list[str]]:
    """Return what is to be told of credentials that are staged: errors and hints, and warnings.

    Errors are for those that no commit has brought before. `entries` are what is staged.
    """
    refused: list[str] = []
    warned: list[str] = []
    for entry in entries:
        if entry.path not in {CONFIG, PRIVATE}:
            continue
        text = git.small_blobs([entry.blob], MAX_CONFIG_BYTES)[entry.blob]
        if text is None:
            if git.config(ALLOWED_KEY) != "true":
                refused += _unread(f"{git.prefix}{entry.path}", "commit")
            continue
        found = list(found_in(text.decode("utf-8", "replace")))
        fresh, name = _fresh(git, entry.path, found), f"{git.prefix}{entry.path}"
        if fresh and git.config(ALLOWED_KEY) != "true":
            refused += _refusal(name, fresh)
        elif found:
            warned.append(
                f"warning: {shown(name)} has credentials in it, and git keeps them for good: "
                f"{_listed(found)}; make new ones: devml-git doctor"
            )
    return refused, warned


def unpublished(git: Git, commits: Sequence[str]) -> list[str]:
    """Return what is to be told, an error and a hint, of credentials that no git remote has yet.

    Of those that `commits`, which are about to be pushed, have brought. Git asks no hook before
    `git am`, `rebase --continue` or `--no-verify` commit: here they can be taken out for the last
    time.
    """
    git = git.whole
    specs = [f":(glob)**/{name}" for name in (CONFIG, PRIVATE)]
    rows = [row for row in git.changed_blobs(commits, specs) if row.new]
    here = set(git.reachable(sorted({row.commit for row in rows}), ["--remotes"]))
    rows = [row for row in rows if row.commit in here]
    if not rows or git.config(ALLOWED_KEY) == "true":
        return []
    above = {p for ps in git.parents(sorted(here)).values() for p in ps} - here
    specs = [f"{p}:{path}" for p in sorted(above) for path in sorted({r.path for r in rows})]
    before = {blob for blob in git.ids_of(specs) if blob is not None}
    ids = sorted({*(row.new for row in rows), *before})
    # what is not here is no file: a commit may have a submodule of that name
    here_too = [blob for blob, is_here in zip(ids, git.present(ids), strict=True) if is_here]
    texts = git.small_blobs(here_too, MAX_CONFIG_BYTES)
    found = {
        blob: list(found_in((text or b"").decode("utf-8", "replace")))
        for blob, text in texts.items()
    }
    known = {c.value for blob in before for c in found.get(blob, ())}
    for row in rows:
        if row.new not in before and texts.get(row.new, b"") is None:
            return _unread(f"{row.commit[:12]}:{row.path}", "push")
        if fresh := [c for c in found.get(row.new, ()) if c.value not in known]:
            commit, place = row.commit[:12], shown(row.path)
            anyway = f"if they are no secret: git -c {ALLOWED_KEY}=true push"
            return [
                f"error: {commit} would publish credentials, in {place}: {_listed(fresh)}",
                f"hint: take them out: git rebase -i {quoted(commit)}^   ({anyway})",
            ]
    return []


def _unread(name: str, verb: str) -> list[str]:
    """Return what is told of settings of more than `MAX_CONFIG_BYTES`, which are nobody's own."""
    return [
        f"error: {shown(name)} is too large to be looked through for credentials",
        f"hint: if it has none: git -c {ALLOWED_KEY}=true {quoted(verb)}",
    ]


def fresh_in(git: Git, path: str, text: bytes) -> list[Credential]:
    """Return the credentials in a text of DVC's settings that no commit has brought before.

    None where the user has said that they are no secret.
    """
    found = list(found_in(text.decode("utf-8", "replace")))
    return [] if git.config(ALLOWED_KEY) == "true" else _fresh(git, path, found)


def _fresh(git: Git, path: str, found: Sequence[Credential]) -> list[Credential]:
    revs = _JOINED if found else ()
    known = {c.value for rev in revs for c in found_in(text_at(git, rev, path))}
    return [c for c in found if c.value not in known]


def _refusal(path: str, fresh: Sequence[Credential]) -> list[str]:
    lines = [f"error: {shown(path)} would put credentials into git: {_listed(fresh)}"]
    if path.endswith(PRIVATE):
        return [*lines, f"hint: git rm -f --cached -- {pathspec(path)}   (the file stays)"]
    lines += [f"hint: {command}" for command in moves(fresh, path)]
    again = f"git add {quoted(path)}   and commit again"
    return [*lines, f"hint: then {again} (if it is no secret: git -c {ALLOWED_KEY}=true commit)"]


def moves(found: Collection[Credential], file: str = CONFIG) -> list[str]:
    """Return the commands that move credentials away, a few at most."""
    return list(dict.fromkeys(c.move(file) for c in found))[:_SHOWN]


def _listed(found: Sequence[Credential]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(map(str, found[:_SHOWN])) + more
