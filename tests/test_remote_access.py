"""What a stranger's `.dvc/config` can do: nothing is run, sent, asked or accepted by it alone."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devml_git import allowed
from devml_git.dvc_config import DvcConfig
from devml_git.plumbing import Git
from devml_git.progress import Progress
from devml_git.remote import Wanted
from devml_git.supply import Supply
from devml_git.workspace import Workspace
from tests.remotes.remote import HOST, Remote
from tests.world import Project, Ran, devml, run

POINTER = "outs:\n- md5: {}\n  size: 2\n  hash: md5\n  path: m.bin\n"
OID = "3b5d5c3712955042212316173ccf37be"  # of "b\n"
NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


def stranger(place: Path, *lines: str, url: str = "", name: str = "st") -> Project:
    """Make a repository with a pointer and a remote; `lines` are more of its `.dvc/config`."""
    place.mkdir(parents=True)
    theirs = Project(place, differential=False)
    run("git", "init", "-q", cwd=place)
    section = [f"['remote \"{name}\"']", f"    url = {url}"] if url else []
    theirs.write(".dvc/config", "\n".join(["[core]", f"    remote = {name}", *section, *lines, ""]))
    theirs.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    theirs.write("m.bin.dvc", POINTER.format(OID))
    theirs.write(".gitignore", "/m.bin\n")
    theirs.git("add", "-A")
    theirs.git(*NO_HOOKS, "commit", "-qm", "theirs")
    return theirs


def filled(place: Path) -> Path:
    """Make a directory remote that has the content."""
    file = place / "files/md5" / OID[:2] / OID[2:]
    file.parent.mkdir(parents=True)
    file.write_text("b\n")
    return place


def cloned(theirs: Project, place: Path) -> Project:
    run("git", "clone", "-q", str(theirs.path), str(place), cwd=theirs.path)
    return Project(place, differential=False)


# -- what counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [
    "bearer_token_command", "credentialpath", "configpath", "keyfile", "cert_path", "key_path",
    "password", "token", "passphrase", "access_key_id", "secret_access_key", "session_token",
    "connection_string", "sas_token", "account_key", "client_secret", "sse_customer_key",
    "gdrive_client_secret", "gdrive_service_account_json_file_path", "allow_agent", "proxy_to",
    "kerb_ticket", "no_such_option",
])  # fmt: skip
def test_option_that_only_the_user_may_give_is_left_out(option: str, tmp_path: Path) -> None:
    theirs = stranger(tmp_path / "r", f"    {option} = x", url="s3://bucket/p")
    remote = DvcConfig(Git.discover(theirs.path)).remotes["st"]
    assert option not in remote.options
    assert option in remote.left_out
    theirs.write(".dvc/config.local", f"['remote \"st\"']\n    {option} = x\n")
    assert option in DvcConfig(Git.discover(theirs.path)).remotes["st"].options


@pytest.mark.parametrize("url", [
    "file:///etc", "memory://x", "git://h/x", "dvc://h/x", "hdfs://h/x", "gdrive://root/x",
    "ext::sh -c x", "simplecache::s3://b/x", "s3://b/x?versionId=1",
    "ssh://-oProxyCommand=x/y", "https://h\\@evil/x", "ssh://h:port/x",
    "s3:///x", "https://h/\x1b[2J", "azure://a b/x", "ssh://u ser@h/x",
])  # fmt: skip
def test_address_that_a_commit_may_not_give_is_never_opened(url: str, tmp_path: Path) -> None:
    theirs = stranger(tmp_path / "r", url=url)
    remote = DvcConfig(Git.discover(theirs.path)).remotes["st"]
    assert remote.refusal is not None
    ran = devml("fetch", cwd=theirs.path)
    assert ran.status
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("url", [
    "s3://bucket/p", "gs://b.example/p", "azure://container/p", "ssh://u@h.example:2222/p",
    "https://h/p", "webdavs://h:8443/p", "../../store", "/srv/store", "https://[::1]:8/p",
])  # fmt: skip
def test_address_of_a_known_kind_may_stand_in_git(url: str) -> None:
    assert allowed.parsed(url) is not None


@pytest.mark.parametrize(
    ("option", "value", "harmless", "counts"),
    [
        ("region", "eu-west-1", True, True), ("region", "x.evil.com/", False, False),
        ("endpointurl", "https://minio.example:9000", False, True),
        ("endpointurl", "https://x@evil", False, False), ("ssl_verify", "true", True, True),
        ("ssl_verify", "false", False, True), ("ssl_verify", "/ca.pem", False, False),
        ("account_name", "evil.com/", False, False), ("jobs", "10", True, True),
        ("jobs", "99999999", False, False), ("profile", "team", False, True),
        ("verify", "true", True, True), ("user", "-oX", False, False),
    ],
)  # fmt: skip
def test_value_counts_as_it_is(option: str, value: str, harmless: bool, counts: bool) -> None:
    assert allowed.is_harmless(option, value) is harmless
    assert allowed.is_allowed(option, value) is counts


def test_remote_on_a_remote_brings_only_what_counts(tmp_path: Path) -> None:
    theirs = stranger(
        tmp_path / "r", "['remote \"base\"']", "    url = s3://b/x", "    configpath = evil",
        "    region = eu-1", url="remote://base/deeper",
    )  # fmt: skip
    remote = DvcConfig(Git.discover(theirs.path)).remotes["st"]
    assert (remote.url, remote.options) == ("s3://b/x/deeper", {"region": "eu-1"})
    assert remote.left_out == ("configpath",)


@pytest.mark.parametrize("url", ["remote://st/x", "remote://none/x", "remote://base/../../x"])
def test_remote_on_a_remote_that_leads_astray_is_refused(url: str, tmp_path: Path) -> None:
    base = ("['remote \"base\"']", "    url = /srv/store")
    theirs = stranger(tmp_path / "r", *base, url=url)
    assert DvcConfig(Git.discover(theirs.path)).remotes["st"].refusal is not None


# -- reading -------------------------------------------------------------------------------------


def test_clone_reads_from_a_harmless_remote_without_a_question_and_shows_it(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    theirs = stranger(tmp_path / "theirs", url="../../store")
    ran = devml("clone", str(theirs.path), str(tmp_path / "c"), cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert f"reading from the DVC remote st ({store})" in ran.err
    assert (tmp_path / "c/m.bin").read_text() == "b\n"
    ran = devml("clone", "--no-content", str(theirs.path), str(tmp_path / "d"), cwd=tmp_path)
    assert f"content will be read from the DVC remote st ({store})" in ran.err


@pytest.mark.parametrize("command", ["show", "log", "diff", "status", "verify", "doctor"])
def test_who_only_looks_in_a_plain_clone_connects_to_nobody(command: str, tmp_path: Path) -> None:
    filled(tmp_path / "store")
    theirs = stranger(tmp_path / "theirs", url="../../store")
    clone = cloned(theirs, tmp_path / "c")
    seen = tmp_path / "strace"
    argv = ["strace", "-f", "-qq", "-e", "trace=%file,connect", "-o", str(seen)]
    run(*argv, sys.executable, "-m", "devml_git", command, cwd=clone.path, check=False)
    assert f"{tmp_path}/store" not in seen.read_text()
    assert not (clone.path / ".git/devml/trust.json").exists()


def test_what_the_user_types_reads_in_a_plain_clone_too(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    clone = cloned(stranger(tmp_path / "theirs", url="../../store"), tmp_path / "c")
    assert "reading from the DVC remote st" in clone.devml("fetch").err
    clone.devml("checkout")
    assert clone.read("m.bin") == "b\n"


@pytest.mark.parametrize(
    ("url", "lines", "why"),
    [
        ("s3://b/x", ["    endpointurl = http://127.0.0.1:9"], "it sets endpointurl"),
        ("s3://b/x", ["    profile = prod"], "it sets profile"),
        ("https://127.0.0.1:9/x", ["    ssl_verify = false"], "it sets ssl_verify"),
        ("http://127.0.0.1:9/x", [], "it is not encrypted"),
        ("webdav://127.0.0.1:9/x", ["    bearer_token_command = touch RAN"], "not encrypted"),
        ("ssh://127.0.0.1:9/x", [], "it is a host that ssh does not know"),
    ],
)
def test_remote_that_would_get_the_users_rights_waits_for_trust(
    url: str, lines: list[str], why: str, tmp_path: Path
) -> None:
    theirs = stranger(tmp_path / "theirs", *lines, url=url)
    ran = devml("clone", "-q", str(theirs.path), str(tmp_path / "c"), cwd=tmp_path)
    assert ran.status == 21
    assert why in ran.err
    assert "devml-git trust st" in ran.err
    for command in ("fetch", "checkout"):
        assert why in devml(command, cwd=tmp_path / "c").err
    assert not list(tmp_path.rglob("RAN"))


def test_users_password_never_follows_an_address_that_a_commit_changed(tmp_path: Path) -> None:
    theirs = stranger(tmp_path / "theirs", url="https://127.0.0.1:9/x")
    clone = cloned(theirs, tmp_path / "c")
    clone.write(".dvc/config.local", "['remote \"st\"']\n    password = hunter2\n    user = me\n")
    ran = devml("fetch", cwd=clone.path)
    assert "your password would go there" in ran.err
    assert "hunter2" not in ran.err + ran.out


def test_hook_reads_only_from_what_was_accepted(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    theirs = stranger(tmp_path / "theirs", url="../../store")
    devml("clone", "-q", str(theirs.path), str(tmp_path / "c"), cwd=tmp_path)
    clone = Project(tmp_path / "c", differential=False)
    other = filled(tmp_path / "other")
    theirs.write(".dvc/config", theirs.read(".dvc/config").replace("store", "other"))
    theirs.write("m.bin.dvc", POINTER.format(OID))
    theirs.git(*NO_HOOKS, "commit", "-qam", "moved")
    (clone.path / "m.bin").unlink()
    for file in (clone.path / ".git/devml/cache").rglob("*"):
        if file.is_file():
            file.unlink()
    ran = clone.git("pull", "-q")
    assert "devml-git trust st" in ran.err
    assert not clone.exists("m.bin")
    assert f"reading from the DVC remote st ({other})" in clone.devml("checkout").err
    assert clone.read("m.bin") == "b\n"


# -- sending -------------------------------------------------------------------------------------


def prepared(tmp_path: Path, **kind: str) -> Project:
    """Clone a stranger's repository with devml-git, and commit a model there."""
    theirs = stranger(tmp_path / "theirs", url=kind.get("url", "../../store"))
    bare = tmp_path / "bare"
    run("git", "clone", "-q", "--bare", str(theirs.path), str(bare), cwd=tmp_path)
    devml("clone", "-q", str(bare), str(tmp_path / "c"), *kind.get("how", "").split(), cwd=tmp_path)
    clone = Project(tmp_path / "c", differential=False)
    clone.devml("track", "w.bin")
    clone.write("w.bin", "mine\n")
    clone.commit("mine")
    return clone


def test_first_upload_to_a_remote_that_came_along_needs_trust_once(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    clone = prepared(tmp_path)
    before = sorted(store.rglob("*"))
    ran = clone.git("push", "-q", check=False)
    assert ran.status
    assert "devml-git trust st" in ran.err
    assert sorted(store.rglob("*")) == before
    clone.devml("trust", "st")
    clone.git("push", "-q")
    assert sorted(store.rglob("*")) != before


def test_clone_with_trust_uploads_at_once(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    prepared(tmp_path, how="--trust").git("push", "-q")


def test_directory_outside_that_came_along_is_made_by_the_first_trusted_upload_only(
    tmp_path: Path,
) -> None:
    clone = prepared(tmp_path, url="../../made")
    for command in (["fetch"], ["checkout"], ["status"], ["verify", "--remote"], ["doctor"]):
        devml(*command, cwd=clone.path)
    assert clone.git("push", "-q", check=False).status
    assert not (tmp_path / "made").exists()


def laundered(tmp_path: Path, how: str) -> Project:
    """Bring another address from a branch of a stranger's, and commit it oneself."""
    clone = prepared(tmp_path, how="--trust")
    clone.git("push", "-q")
    clone.git("checkout", "-q", "-b", "theirs")
    clone.write(".dvc/config", clone.read(".dvc/config").replace("store", "evil"))
    clone.git(*NO_HOOKS, "commit", "-qam", "evil")
    clone.git("checkout", "-q", "-")
    run("sh", "-ec", how, cwd=clone.path)
    clone.write("w.bin", "secret\n")
    return clone


@pytest.mark.parametrize("how", [
    "git merge -q --squash theirs", "git cherry-pick -n theirs", "git checkout theirs -- .dvc/config",
    "git restore --source theirs .dvc/config", "git show theirs -- .dvc/config | git apply",
    "git checkout -q --detach theirs; git reset -q --soft HEAD~1; git stash -q; git stash pop -q",
    "git merge -q --ff-only theirs; git branch -D theirs; git reset -q --soft HEAD~1",
    "git fetch -q . theirs; git branch -D theirs; git checkout -q FETCH_HEAD -- .dvc/config",
])  # fmt: skip
def test_address_that_some_commit_has_is_not_the_users_word_because_he_commits_it(
    how: str, tmp_path: Path
) -> None:
    filled(tmp_path / "store")
    clone = laundered(tmp_path, how)
    assert "evil" in clone.read(".dvc/config")
    run("git", "add", "-A", cwd=clone.path)
    assert "trusted as you commit it" not in clone.git("commit", "-m", "mine").err
    ran = clone.git("push", "-q", "origin", "HEAD:refs/heads/new", check=False)
    assert ran.status
    assert "devml-git trust st" in ran.err
    assert not (tmp_path / "evil").exists()


def test_address_that_git_rewrites_at_checkout_is_not_the_users_word(tmp_path: Path) -> None:
    theirs = stranger(tmp_path / "theirs", url="../../evil$Id$")
    theirs.write(".gitattributes", ".dvc/config ident\n")
    theirs.git("add", "-A")
    theirs.git(*NO_HOOKS, "commit", "-qm", "ident")
    clone = cloned(theirs, tmp_path / "c")
    clone.devml("init", "--no-content")
    assert "$Id:" in clone.read(".dvc/config")
    git = Git.discover(clone.path)
    assert git.attributes_of(".dvc/config", ("ident",)) == {"ident": "set"}
    clone.devml("track", "w.bin")
    clone.write("w.bin", "mine\n")
    clone.commit("mine")
    clone.git("init", "-q", "--bare", str(tmp_path / "bare"))
    assert clone.git("push", "-q", str(tmp_path / "bare"), "HEAD:main", check=False).status
    assert not list(tmp_path.glob("evil*"))


def test_what_the_user_adds_himself_needs_no_trust(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    clone = prepared(tmp_path)
    clone.dvc("remote", "add", "-q", "-d", "mine", str(tmp_path / "mine"))
    assert "trusted as you commit it: mine" in clone.commit("my remote").err
    clone.git("push", "-q")
    assert (tmp_path / "mine").is_dir()


def test_file_in_git_that_a_private_option_names_is_trusted_by_its_content(tmp_path: Path) -> None:
    theirs = stranger(tmp_path / "theirs", url="s3://bucket/x")
    theirs.write("aws.cfg", "[default]\n")
    theirs.commit("config")
    clone = cloned(theirs, tmp_path / "c")
    clone.write(".dvc/config.local", "['remote \"st\"']\n    configpath = ../aws.cfg\n")
    clone.devml("init", "--no-content")
    assert "it depends on a file that git tracks" in devml("fetch", cwd=clone.path).err
    clone.devml("trust", "st")
    git = Git.discover(clone.path)
    from devml_git.trust import Trust

    config = DvcConfig(git)
    assert Trust(git, config).may_send(config.remotes["st"])
    clone.write("aws.cfg", "[default]\ncredential_process = touch RAN\n")
    assert not Trust(git, config).may_send(config.remotes["st"])


# -- found in review: each was a way around trust --------------------------------------------------


def test_submodule_in_the_place_of_dvc_is_refused(tmp_path: Path) -> None:
    inner = Project(tmp_path / "inner", differential=False)
    inner.path.mkdir()
    inner.git("init", "-q")
    mark = tmp_path / "RAN"
    inner.write(
        "config", "[core]\n    remote = e\n['remote \"e\"']\n    url = webdav://127.0.0.1:9/x\n"
    )
    inner.write(
        "config.local",
        f"['remote \"e\"']\n    url = webdav://127.0.0.1:9/x\n    bearer_token_command = touch {mark}\n",
    )
    inner.git("add", "-Af")
    inner.git("commit", "-qm", "x")
    theirs = Project(tmp_path / "theirs", differential=False)
    theirs.path.mkdir()
    theirs.git("init", "-q")
    theirs.git("submodule", "--quiet", "add", str(inner.path), ".dvc")
    theirs.write("m.bin.dvc", POINTER.format(OID))
    theirs.git("add", "-A")
    theirs.git(*NO_HOOKS, "commit", "-qm", "x")
    argv = ["clone", "--recurse-submodules", str(theirs.path), str(tmp_path / "c")]
    assert "repository of its own" in devml(*argv, cwd=tmp_path).err
    for command in ("fetch", "checkout", "show", "status"):
        assert devml(command, cwd=tmp_path / "c").status
    assert not mark.exists()


@pytest.mark.parametrize("how", [
    "git merge -q --squash bad; git reset -q", "git checkout -q bad; git rm -q --cached .dvc/config.local",
    "git checkout -q bad; git reset -q HEAD~1",
    "git merge -q --squash bad; git reset -q; git branch -D bad",
])  # fmt: skip
def test_private_file_that_a_commit_left_behind_is_nobodys_own(how: str, tmp_path: Path) -> None:
    filled(tmp_path / "store")
    clone = prepared(tmp_path)
    mark = tmp_path / "RAN"
    git = ("git", "-c", "core.hooksPath=/dev/null")
    run(*git, "checkout", "-q", "-b", "bad", cwd=clone.path)
    own = clone.read(".dvc/config.local") if clone.exists(".dvc/config.local") else ""
    clone.write(
        ".dvc/config.local",
        f"['remote \"st\"']\n    url = webdav://127.0.0.1:9/x\n    bearer_token_command = touch {mark}\n",
    )
    run(*git, "add", "-f", ".dvc/config.local", cwd=clone.path)
    run(*git, "commit", "-qm", "bad", cwd=clone.path)
    run(*git, "checkout", "-q", "-", cwd=clone.path)
    clone.write(".dvc/config.local", own)
    (clone.path / ".dvc/config.local").unlink()
    run("sh", "-ec", how.replace("git ", "git -c core.hooksPath=/dev/null "), cwd=clone.path)
    assert "bearer_token_command" in clone.read(".dvc/config.local")
    for command in ("fetch", "checkout", "status"):
        ran = devml(command, cwd=clone.path)
    assert not mark.exists()
    assert "came with a commit and is ignored" in devml("fetch", cwd=clone.path).err, ran.err


@pytest.mark.parametrize("how", [
    "git merge -q --squash theirs; git branch -q -D theirs; rm -rf .git/logs .git/FETCH_HEAD .git/ORIG_HEAD",
    "git tag -a -m t tree theirs^{tree}; git branch -q -D theirs; rm -rf .git/logs; git checkout -q tree -- .dvc/config",
    "git config log.showRoot false; git config log.diffMerges off; git checkout -q theirs -- .dvc/config",
])  # fmt: skip
def test_address_of_a_commit_that_nothing_names_any_more_is_not_the_users_word(
    how: str, tmp_path: Path
) -> None:
    test_address_that_some_commit_has_is_not_the_users_word_because_he_commits_it(how, tmp_path)


def test_who_may_read_what_is_sent_is_trusted_too(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    clone = prepared(tmp_path, how="--trust")
    config = clone.read(".dvc/config")
    run("git", "checkout", "-q", "-b", "bad", cwd=clone.path)
    clone.write(".dvc/config", config + "    shared = group\n")
    clone.git(*NO_HOOKS, "commit", "-qam", "bad")
    run("git", "checkout", "-q", "-", cwd=clone.path)
    clone.write(".dvc/config", config + "    shared = group\n    jobs = 4\n")
    assert "trusted as you commit it" not in clone.git("commit", "-qam", "mine").err
    assert clone.git("push", "-q", check=False).status


def test_remote_of_a_copied_tree_that_is_adopted_came_along(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    theirs = stranger(tmp_path / "theirs", url="../../evil")
    run("rm", "-rf", ".git", cwd=theirs.path)
    run("git", "init", "-q", cwd=theirs.path)
    theirs.devml("init", "--no-content")
    theirs.devml("track", "w.bin")
    theirs.write("w.bin", "mine\n")
    run("git", "rm", "-q", "--cached", "--ignore-unmatch", "m.bin.dvc", cwd=theirs.path)
    (theirs.path / "m.bin.dvc").unlink()
    assert "trusted as you commit it" not in theirs.commit("mine").err
    run("git", "init", "-q", "--bare", str(tmp_path / "hub"), cwd=tmp_path)
    assert theirs.git("push", "-q", str(tmp_path / "hub"), "HEAD", check=False).status
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_login_in_netrc_makes_a_host_one_to_be_asked_about(
    mode: int, tmp_path: Path, sealed: Path
) -> None:
    (sealed / ".netrc").write_text("default login me password pw\n")
    (sealed / ".netrc").chmod(mode)
    clone = cloned(stranger(tmp_path / "theirs", url="https://CORP.example/x"), tmp_path / "c")
    assert "~/.netrc would go there" in devml("fetch", cwd=clone.path).err


def test_repair_where_nothing_is_set_up_names_init(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    clone = cloned(stranger(tmp_path / "theirs", url="../../store"), tmp_path / "c")
    assert "devml-git init" in devml("verify", "--repair", cwd=clone.path).err


# -- a terminal ----------------------------------------------------------------------------------


def on_terminal(answer: str, *argv: str, cwd: Path) -> Ran:
    """Run devml-git on a terminal and answer what it asks."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "devml_git", "--no-progress", *argv], cwd=cwd, stdin=slave,
        stdout=subprocess.PIPE, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    os.write(master, answer.encode())
    out, _ = process.communicate(timeout=120)
    text = b""
    try:
        while piece := os.read(master, 1 << 16):
            text += piece
    except OSError:
        pass
    os.close(master)
    return Ran(process.returncode, out.decode(), text.decode("utf-8", "replace"))


def test_yes_on_a_terminal_is_trust_and_no_is_none(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    clone = prepared(tmp_path)
    ran = on_terminal("n\n", "push", cwd=clone.path)
    assert "Send content to the DVC remote st" in ran.err
    assert ran.status == 21
    assert on_terminal("y\n", "push", cwd=clone.path).status == 0
    assert clone.git("push", "-q").status == 0


# -- ssh -----------------------------------------------------------------------------------------


def test_host_that_ssh_does_not_know_is_met_by_trust_and_held_to_its_key(
    storages: Callable[..., Remote], tmp_path: Path, sealed: Path
) -> None:
    storage = storages("ssh")
    theirs = stranger(tmp_path / "theirs", url=storage.url)
    clone = cloned(theirs, tmp_path / "c")
    clone.devml("init", "--no-content")
    storage.configure(clone)
    (sealed / ".ssh/known_hosts").unlink()
    ran = devml("fetch", cwd=clone.path)
    assert ran.status == 21
    assert "ssh" in ran.err
    assert "SHA256:" in clone.devml("trust").err
    ran = devml("fetch", cwd=clone.path)
    assert ran.status == 30, ran.err  # connected: the store is empty
    ours = clone.path / ".git/devml/known_hosts"
    assert storage.host_key.split()[1] in ours.read_text()
    other = ours.read_text().split()[2][:-8] + "AAAAAAAA"
    ours.write_text(f"[{HOST}]:{storage.port} ssh-ed25519 {other}\n")
    ran = devml("fetch", cwd=clone.path)
    assert ran.status == 21
    assert "Traceback" not in ran.err


def test_old_file_of_what_is_trusted_and_a_broken_one_trust_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    clone = prepared(tmp_path)
    for text in (json.dumps(["0" * 64]), "{", '{"schema": "devml.trust/v2", "send": 3}'):
        clone.write(".git/devml/trust.json", text)
        assert clone.git("push", "-q", check=False).status


# -- what a remote and a broken file can do ------------------------------------------------------


class Counted(Progress):
    """Counts the bytes that come."""

    bytes = 0

    def advance(self, amount: int) -> None:
        self.bytes += amount


@pytest.mark.parametrize("kind", ["directory", "s3", "http", "ssh", "webdav"])
def test_remote_that_sends_far_more_than_the_pointer_says_is_cut_off(
    kind: str, storages: Callable[..., Remote], tmp_path: Path
) -> None:
    storage = storages(kind)
    clone = cloned(stranger(tmp_path / "theirs", url="../../store"), tmp_path / "c")
    storage.configure(clone)
    clone.devml("init", "--no-content")
    file = storage.place / "files/md5" / OID[:2] / OID[2:]
    file.parent.mkdir(parents=True)
    with file.open("wb") as f:
        f.truncate(300 << 20)
    storage.settle()
    counted = Counted()
    with Workspace(Git.discover(clone.path), progress=counted) as ws:
        pointer = ws.tree.snapshot.pointers["m.bin"]
        assert Supply(ws, fetch=True).fetch_wanted([Wanted.of(pointer, OID)]) == [OID]
    assert counted.bytes < 64 << 20
    assert devml("fetch", cwd=clone.path).status == 30
    assert not clone.exists("m.bin")
    file.write_text("b\n")
    storage.settle()
    clone.devml("checkout")
    assert clone.read("m.bin") == "b\n"


@pytest.mark.parametrize("text", ["['remote \"x\"'\n", "\xff", "a" * 300_000, "[core\n<<<<<<<\n"])
def test_configuration_that_cannot_be_read_stops_only_what_needs_a_remote(
    text: str, tmp_path: Path
) -> None:
    filled(tmp_path / "store")
    clone = prepared(tmp_path)
    clone.write(".dvc/config", text.encode("latin-1"))
    clone.write("w.bin", "more\n")
    for command in ("status", "log", "show", "diff", "snapshot"):
        ran = devml(command, cwd=clone.path)
        assert ran.status == 0, (command, ran.err)
    ran = clone.git("push", "-q", check=False)
    assert ran.status
    assert "config" in ran.err
