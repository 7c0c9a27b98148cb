"""Credentials in `.dvc/config` stay out of git, and out of everything that is told."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest

from devml_git.credentials import SECRET_OPTIONS, found_in
from devml_git.escaping import redacted
from tests.world import Project, Ran, devml, run

SECRET = "hunter2-is-secret"
ADDRESS = f"https://user:{SECRET}@example.org/x"


def remote(*options: str, url: str = "https://example.org/x") -> str:
    return "".join(
        ["['remote \"storage\"']\n", f"    url = {url}\n", *(f"    {o}\n" for o in options)]
    )


def stage(project: Project, text: str) -> None:
    project.write(".dvc/config", text)
    run("git", "add", ".dvc/config", cwd=project.path)


def commit(project: Project, *args: str) -> Ran:
    ran = run("git", "commit", "-m", "x", *args, cwd=project.path, check=False)
    assert SECRET not in ran.out + ran.err
    return ran


# -- what is one ---------------------------------------------------------------------------------


def test_every_option_of_dvc_that_holds_a_secret_is_known() -> None:
    """A new DVC with a new one makes this fail."""
    from dvc.config_schema import REMOTE_SCHEMAS, SCHEMA

    sections = [*REMOTE_SCHEMAS.values(), SCHEMA["studio"], *SCHEMA["db"].values()]
    names = {str(key) for section in sections for key in section if isinstance(key, str)}
    words = re.compile(r"(?!exclude_|ask_).*(pass|secret|token|key|connection_string|credential)")
    paths = {"keyfile", "key_path", "credentialpath", "gdrive_user_credentials_file"}
    others = {"bearer_token_command", "sse_kms_key_id"}
    likely = {n for n in names if words.match(n)}
    assert likely - paths - others == SECRET_OPTIONS


@pytest.mark.parametrize("option", sorted(SECRET_OPTIONS))
def test_option_that_holds_a_secret_is_found(option: str) -> None:
    (one,) = found_in(remote(f"{option} = {SECRET}"))
    assert (one.option, str(one)) == (option, f"remote storage: {option}")
    assert SECRET not in f"{one} {one!r} {one.move()}"


@pytest.mark.parametrize(
    "value",
    [
        "AKIA" + "A1" * 8, "ghp_" + "a1" * 18, "github_pat_" + "a" * 22, "glpat-" + "a" * 20, "xoxb-" + "1" * 12,
        "hf_" + "a" * 34, "AIza" + "b" * 35, "DefaultEndpointsProtocol=https;AccountKey=" + "a" * 20,
        "eyJhbGciOiJI.eyJzdWIiOiIx.abc", "-----BEGIN OPENSSH PRIVATE KEY-----", '{"type": "x", "private_key": "y"}',
        "https://a1b2c3d4e5f6a1b2c3d4e5f6@example.org/x", "https://x.blob.core.windows.net/c?sv=1&sig=abc%3D", "https://host/x?token=abcd", ADDRESS,
    ],
)  # fmt: skip
def test_value_that_looks_like_a_secret_is_found_in_any_option(value: str) -> None:
    assert len(list(found_in(remote(f"region = {value}")))) == 1
    assert len(list(found_in(remote(f"'REGION' = '{value}'").replace("\n", "\r\n")))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "url = ssh://user@example.org:22/x", "url = s3://bucket/a:b@c", "url = https://h:80/a@b", "ask_password = true",
        "region = eu-central-1", "profile = team", "password =", "# password = x", "keyfile = ~/.ssh/id_rsa",
        "# password = <your password>", ";secret_access_key = xxxxxxxxxxxx", "# token = $TOKEN_OF_TEAM", "ask_passphrase = true", "monkey = true-friend", "custom_auth_header = X-Auth-Token",
        "url = https://jane.doe-of-the-laboratory@example.org/x", "url = s3://a1b2c3d4e5f6a1b2c3d4e5f6@b/x",
        "endpointurl = http://localhost:9000", "url = azure://container?x=1", "sse_kms_key_id = alias/team",
    ],
)  # fmt: skip
def test_harmless_line_is_left_in_peace(line: str) -> None:
    assert list(found_in(remote(line))) == []


def test_secret_that_is_no_option_is_found_by_its_line() -> None:
    key = "x = '''\n-----BEGIN RSA PRIVATE KEY-----\n'''\n# AKIAABCDEFGHIJKLMNOP\n"
    assert [str(c) for c in found_in(key)] == ["line 2 (a private key)", "line 4 (an AWS key)"]


@pytest.mark.parametrize(
    "name", ["passwd", "aws_secret_access_key", "AWS_SESSION_TOKEN", "api-key", "apikey", "db_pwd", "\xa0password", "\ufeffpassword"]
)  # fmt: skip
def test_secret_under_a_name_that_is_not_of_dvc_is_found(name: str) -> None:
    (one,) = found_in(remote(f"{name} = {SECRET}"))
    assert (one.line, one.value) == (3, SECRET)
    if "password" not in name:  # DVC takes no such option, so it would not be moved
        assert one.move() == "take line 3 out of .dvc/config"


def test_secret_of_many_lines_is_another_one_when_a_later_line_changes() -> None:
    key = "x = '''-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----'''\ny = 1\n"
    long = "[studio]\ntoken = '''\n{}'''\ny = 1\n"
    for text in key, long:
        (one,), (two,), (three,) = (found_in(text.format(s)) for s in ("abc", "abd", "abc"))
        assert one.value != two.value
        assert one.value == three.value
        assert "y =" not in one.value


def test_secret_that_was_commented_out_is_found() -> None:
    (one,) = found_in(remote(f"#password = {SECRET}"))
    assert str(one) == "line 3 (password, commented out)"
    assert one.move() == "take line 3 out of .dvc/config"
    told = [str(c) for c in found_in(f"# url = {ADDRESS}\n#token = ghp_{'a1' * 18}\n")]
    assert told == ["line 1 (in its address)", "line 2 (a GitHub token)"]


@pytest.mark.parametrize(
    "text", ["a" + " " * 10**6, "[ " + "] '" * 300_000, "-eyJabcdefgh" * 80_000, "://a:" * 200_000, "=" * 10**6,
     "a" + " " * 10**6 + "b", "token = '''\n" * 90_000, "-----BEGIN PRIVATE KEY\n" * 45_000]
)  # fmt: skip
def test_strange_text_is_read_quickly(text: str) -> None:
    began = time.process_time()
    list(found_in(text))
    assert time.process_time() - began < 4


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (ADDRESS, "https://***@example.org/x"), ("https://a:b@c@host/x", "https://***@host/x"),
        ("https://evil.org/x@good.org", "https://evil.org/x@good.org"), ("https://h?sig=a%3D&x=1", "https://h?sig=***&x=1"),
        ("failed: 'ssh://u:p@h' and 's3://b/c@d'", "failed: 'ssh://***@h' and 's3://b/c@d'"),
        ("s3://Key:wJalr/Se?c#9@bucket/p", "s3://***@bucket/p"), ("https://h:8080/a@b", "https://h:8080/a@b"),
        ("https://h:8080?a@b", "https://h:8080?a@b"), ("https://h?private_token=x", "https://h?private_token=***"),
    ],
)  # fmt: skip
def test_address_is_shown_without_what_opens_it(address: str, shown: str) -> None:
    assert redacted(address) == shown


# -- at a commit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [remote(f"password = {SECRET}"), remote(url=ADDRESS), f"[studio]\n    token = {SECRET}\n"],
    ids=["option", "address", "studio"],
)  # fmt: skip
def test_commit_that_brings_a_credential_is_stopped(project: Project, text: str) -> None:
    """Nothing else is staged, all is in order: the shim alone would have let it pass."""
    head = project.head()
    stage(project, text)
    project.devml("snapshot")  # what is staged now is in order, as far as content goes
    ran = commit(project)
    assert ran.status
    assert project.head() == head
    assert "would put credentials into git" in ran.err
    assert "VALUE" in ran.err


def test_the_commands_that_are_named_move_it(project: Project) -> None:
    stage(project, remote(f"password = {SECRET}") + f"[studio]\n    token = {SECRET}\n")
    hints = re.findall(r"hint: (dvc .*)\n", commit(project).err)
    assert len(hints) == 2
    for hint in hints:
        run("sh", "-ec", hint.replace("VALUE", SECRET), cwd=project.path)
    run("git", "add", ".dvc/config", cwd=project.path)
    assert commit(project).status == 0
    assert SECRET not in project.show("HEAD", ".dvc/config")
    assert project.read(".dvc/config.local").count(SECRET) == 2


def test_address_with_a_password_is_moved_by_the_commands_that_are_named(project: Project) -> None:
    stage(project, remote(url=ADDRESS))
    (hint,) = re.findall(r"hint: (dvc .*)\n", commit(project).err)
    hint = hint.replace("VALUE", ADDRESS).replace("ADDRESS-WITHOUT-IT", "https://example.org/x")
    run("sh", "-ec", hint, cwd=project.path)
    assert project.read(".dvc/config") == remote()
    assert ADDRESS in project.read(".dvc/config.local")


def test_commit_of_ours_is_stopped_without_hooks_too(project: Project) -> None:
    project.devml("hooks", "uninstall")
    stage(project, remote(f"password = {SECRET}"))
    ran = project.devml("commit", "-m", "x", check=False)
    assert ran.status == 21
    assert "error: .dvc/config would put credentials into git: remote storage: password" in ran.err
    assert SECRET not in ran.out + ran.err


@pytest.mark.parametrize("how", [("-a",), ("--", ".dvc/config"), ("--amend",)], ids=" ".join)
def test_commit_of_unstaged_settings_is_stopped(project: Project, how: tuple[str, ...]) -> None:
    stage(project, remote())
    assert commit(project).status == 0
    project.write(".dvc/config", remote(f"password = {SECRET}"))
    if how == ("--amend",):
        run("git", "add", ".dvc/config", cwd=project.path)
    assert commit(project, *how).status
    assert devml("commit", "-m", "x", *how, cwd=project.path).status
    assert SECRET not in project.show("HEAD", ".dvc/config")


@pytest.mark.parametrize("policy", ["check", "off"])
def test_policy_of_the_hook_decides_whether_it_looks(project: Project, policy: str) -> None:
    project.write(
        "devml.toml", project.read("devml.toml") + f'\n[hooks]\npre-commit = "{policy}"\n'
    )
    project.commit("policy")
    stage(project, remote(f"password = {SECRET}"))
    assert bool(commit(project).status) is (policy == "check")


@pytest.mark.parametrize("is_staged", [False, True])
def test_snapshot_leaves_a_credential_where_it_is(models: Project, *, is_staged: bool) -> None:
    """The rest of the workspace is in it, and the file itself stays as the user has it."""
    before = models.show("HEAD", ".dvc/config")
    models.write(".dvc/config", remote(f"password = {SECRET}"))
    if is_staged:
        models.git("add", ".dvc/config")
    models.write("train.py", "new\n")
    ran = models.devml("snapshot", "-m", "x", "--json")
    point = ran.json["id"]
    assert models.show(point, ".dvc/config") == before
    assert models.show(point, "train.py").strip() == "new"
    assert SECRET in models.read(".dvc/config")
    assert "remote storage: password" in ran.out + ran.err
    assert SECRET not in ran.out + ran.err
    models.git("config", "devml.allowCredentials", "true")
    again = models.devml("snapshot", "-m", "y", "--json").json["id"]
    assert SECRET in models.show(again, ".dvc/config")


def test_snapshot_leaves_out_the_settings_of_other_projects_and_of_the_user(
    models: Project,
) -> None:
    models.differential = False
    models.write("sub/x.txt", "x")
    run(sys.executable, "-m", "dvc", "init", "-q", "--subdir", cwd=models.path / "sub")
    (models.path / "sub/.dvc/.gitignore").unlink()
    run("git", "add", "-A", cwd=models.path)
    run("git", "commit", "-qm", "a project", cwd=models.path)
    models.write("sub/.dvc/config", remote(f"password = {SECRET}"))
    models.write("sub/.dvc/config.local", remote(f"password = {SECRET}"))
    models.write(".dvc/config.local", remote(f"password = {SECRET}"))
    run("git", "add", "-f", ".dvc/config.local", cwd=models.path)
    ran = models.devml("snapshot", "-m", "x", "--json")
    point = ran.json["id"]
    assert SECRET not in run("git", "grep", "-h", "", point, cwd=models.path).out
    assert "sub/.dvc/config as the last commit has it" in ran.out + ran.err
    models.write("sub/.dvc/config", remote(f"password = {SECRET}") + "#" * 300_000)
    ran = models.devml("snapshot", "-m", "y", "--json")
    assert SECRET not in run("git", "grep", "-h", "", ran.json["id"], cwd=models.path).out
    assert "too large to be looked through" in ran.out + ran.err


def test_hints_in_a_subproject_work_as_typed_at_the_root(models: Project) -> None:
    models.write("sub/x.txt", "x")
    run(sys.executable, "-m", "dvc", "init", "-q", "--subdir", cwd=models.path / "sub")
    devml("init", cwd=models.path / "sub")
    run("git", "add", "-A", cwd=models.path)
    run("git", "commit", "-qm", "a project", cwd=models.path)
    models.write("sub/.dvc/config", remote(f"password = {SECRET}"))
    ran = run("git", "commit", "-qam", "secret", cwd=models.path, check=False)
    assert ran.status == 1
    assert "sub/.dvc/config would put credentials into git" in ran.err
    hints = [line.partition("hint: ")[2] for line in ran.err.splitlines() if "hint: " in line]
    assert hints[0].startswith("(cd sub/ && dvc remote modify --local storage password VALUE")
    assert hints[1].startswith("then git add sub/.dvc/config ")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run("sh", "-c", hints[0], cwd=models.path, env=env)
    run("sh", "-c", "git add sub/.dvc/config", cwd=models.path)
    assert run("git", "commit", "-qm", "ok", "--allow-empty", cwd=models.path).status == 0
    assert SECRET not in run("git", "log", "-p", cwd=models.path).out
    assert "VALUE" in models.read("sub/.dvc/config.local")


def test_doctor_looks_at_every_project(models: Project) -> None:
    models.write("sub/x.txt", "x")
    run(sys.executable, "-m", "dvc", "init", "-q", "--subdir", cwd=models.path / "sub")
    models.write("sub/.dvc/config", remote(f"password = {SECRET}"))
    private = models.write("sub/.dvc/config.local", remote(f"password = {SECRET}"))
    private.chmod(0o644)
    run("git", "add", "-A", cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "theirs", cwd=models.path)
    told = models.devml("doctor", check=False).out
    assert "sub/.dvc/config: remote storage: password" in told
    assert "sub/.dvc/config.local has credentials in it, and can be read by others" in told


@pytest.fixture
def pushed(models: Project, tmp_path: Path) -> Project:
    models.differential = False
    models.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "store"))
    models.commit("a remote")
    run("git", "init", "-q", "--bare", str(tmp_path / "hub"), cwd=tmp_path)
    run("git", "remote", "add", "hub", str(tmp_path / "hub"), cwd=models.path)
    run("git", "-c", "core.hooksPath=/dev/null", "push", "-q", "hub", "HEAD:main", cwd=models.path)
    return models


def test_credential_that_no_hook_saw_is_not_pushed(pushed: Project) -> None:
    stage(pushed, f"{pushed.read('.dvc/config')}[studio]\n    token = {SECRET}\n")
    assert commit(pushed, "--no-verify").status == 0
    pushed.write("train.py", "print(5)\n")
    run("git", "commit", "-qam", "later", cwd=pushed.path)
    before = run("git", "ls-remote", "hub", cwd=pushed.path).out
    ran = run("git", "push", "hub", "HEAD:main", cwd=pushed.path, check=False)
    assert ran.status == 1
    assert "would publish credentials, in .dvc/config: studio: token" in ran.err
    assert SECRET not in ran.err
    assert run("git", "ls-remote", "hub", cwd=pushed.path).out == before
    run("git", "-c", "devml.allowCredentials=true", "push", "-q", "hub", "HEAD:main",
        cwd=pushed.path)  # fmt: skip
    assert run("git", "ls-remote", "hub", cwd=pushed.path).out != before


def test_credential_that_a_remote_has_already_stops_no_push(
    pushed: Project, tmp_path: Path
) -> None:
    """Whoever merges a colleague's commit, or pushes to a second place, publishes nothing new."""
    stage(pushed, f"{pushed.read('.dvc/config')}[studio]\n    token = {SECRET}\n")
    assert commit(pushed, "--no-verify").status == 0
    run("git", "-c", "core.hooksPath=/dev/null", "push", "-q", "hub", "HEAD:theirs",
        cwd=pushed.path)  # fmt: skip
    run("git", "-c", "core.hooksPath=/dev/null", "reset", "-q", "--hard", "HEAD~1", cwd=pushed.path)
    pushed.write("train.py", "print(6)\n")
    run("git", "commit", "-qam", "mine", cwd=pushed.path)
    run("git", "merge", "-q", "--no-edit", "hub/theirs", cwd=pushed.path)
    run("git", "push", "-q", "hub", "HEAD:main", cwd=pushed.path)
    run("git", "init", "-q", "--bare", str(tmp_path / "second"), cwd=tmp_path)
    run("git", "push", "-q", str(tmp_path / "second"), "HEAD:main", cwd=pushed.path)


def test_settings_too_large_to_be_looked_through_are_not_committed_and_not_pushed(
    pushed: Project,
) -> None:
    """Nobody's own are, and DVC is not given them: so what is in them stays here."""
    before = pushed.read(".dvc/config")
    stage(pushed, f"{before}[studio]\n    token = {SECRET}\n" + "#" * 300_000)
    ran = commit(pushed)
    assert ran.status == 1
    assert ".dvc/config is too large to be looked through for credentials" in ran.err
    assert commit(pushed, "--no-verify").status == 0
    ran = run("git", "push", "hub", "HEAD:main", cwd=pushed.path, check=False)
    assert ran.status == 1
    assert "too large to be looked through for credentials" in ran.err
    stage(pushed, before)
    assert run("git", "-c", "devml.allowCredentials=true", "push", "-q", "hub", "HEAD:main",
               cwd=pushed.path).status == 0  # fmt: skip


def test_submodule_in_the_place_of_settings_stops_no_push(pushed: Project) -> None:
    run("git", "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub/.dvc/config.local",
        cwd=pushed.path)  # fmt: skip
    run("git", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "theirs", cwd=pushed.path)
    run("git", "push", "-q", "hub", "HEAD:main", cwd=pushed.path)


def test_forced_checkout_of_a_snapshot_keeps_the_credential_that_is_in_none(
    models: Project,
) -> None:
    models.write("train.py", "one\n")
    first = models.devml("snapshot", "-m", "one", "--json").json["id"]
    models.write("train.py", "two\n")
    models.write("models/a.pt", "two")
    models.write(".dvc/config", remote(f"password = {SECRET}"))
    models.devml("checkout", "--force", first, check=False)
    assert models.read("train.py") == "one\n"
    assert SECRET in models.read(".dvc/config") + models.git("stash", "show", "-p", check=False).out


def test_credential_that_git_has_already_stops_nothing(project: Project) -> None:
    stage(project, remote(f"password = {SECRET}"))
    assert commit(project, "--no-verify").status == 0
    stage(project, remote(f"password = {SECRET}", "timeout = 3"))
    ran = commit(project)
    assert ran.status == 0
    assert ran.err.count("has credentials in it") == 1
    project.write("a.py", "1")
    run("git", "add", "a.py", cwd=project.path)
    assert "credentials" not in commit(project).err
    findings = devml("doctor", "--json", cwd=project.path).json["findings"]
    (found,) = [f for f in findings if f["subject"] == "credentials"]
    assert found["verdict"] == "warn"
    assert "remote storage: password" in found["text"]
    assert found["mend"].startswith("dvc remote modify --local storage password VALUE")
    assert SECRET not in str(findings)


def test_credential_of_the_merged_branch_stops_no_merge(project: Project) -> None:
    project.git("checkout", "-q", "-b", "side")
    stage(project, remote(f"password = {SECRET}"))
    assert commit(project, "--no-verify").status == 0
    project.git("checkout", "-q", "main")
    stage(project, remote("timeout = 3"))
    assert commit(project).status == 0
    assert run("git", "merge", "side", cwd=project.path, check=False).status
    stage(project, remote("timeout = 3", f"password = {SECRET}"))
    assert commit(project).status == 0


def test_what_is_no_secret_is_let_through_by_the_command_that_is_named(project: Project) -> None:
    stage(project, remote("access_key_id = minio"))
    ran = commit(project)
    (allowed,) = re.findall(r"if it is no secret: (git .* commit)\)", ran.err)
    run("sh", "-ec", f"{allowed} -m x", cwd=project.path)


def test_private_settings_that_are_staged_with_a_credential_are_stopped(project: Project) -> None:
    project.write(".dvc/config.local", remote(f"password = {SECRET}"))
    run("git", "add", "-f", ".dvc/config.local", cwd=project.path)
    ran = commit(project)
    assert ran.status
    (hint,) = re.findall(r"hint: (git rm .*?)   ", ran.err)
    run("sh", "-ec", hint, cwd=project.path)
    assert project.exists(".dvc/config.local")
    assert project.porcelain() == ""


def test_project_in_a_subdirectory_is_looked_at_as_well(project: Project) -> None:
    (project.path / "sub").mkdir()
    project.devml("init", "--subdir", cwd="sub")
    project.commit("sub")
    project.write("sub/.dvc/config", remote(f"password = {SECRET}"))
    run("git", "add", "sub/.dvc/config", cwd=project.path)
    assert commit(project).status


def test_malformed_settings_are_told_without_their_text(project: Project) -> None:
    project.differential = False
    project.write(".dvc/config", remote(f"password {SECRET}"))
    for command in (("status",), ("doctor",), ("fetch",), ("push",)):
        ran = project.devml(*command, check=False)
        assert SECRET not in ran.out + ran.err, command


@pytest.mark.parametrize(
    "command", [("doctor",), ("trust",), ("show",), ("status",), ("log",), ("fetch",)]
)
def test_no_command_shows_a_credential(models: Project, command: tuple[str, ...]) -> None:
    text = remote(f"password = {SECRET}", url=f"https://user:{SECRET}@127.0.0.1:9/x?sig={SECRET}")
    stage(models, text)
    run("git", "commit", "-qm", "x", "--no-verify", cwd=models.path)
    for args in (command, (*command, "--traceback")):
        ran = models.devml(*args, check=False)
        assert SECRET not in ran.out + ran.err


def test_commit_without_settings_starts_no_python(project: Project) -> None:
    project.devml("snapshot")
    project.write("a.py", "1")
    run("git", "add", "a.py", cwd=project.path)
    env = {"GIT_TRACE2_EVENT": str(project.path.parent / "trace")}
    run("git", "commit", "-qm", "x", cwd=project.path, env=env)
    assert (project.path / ".git/devml/committing").read_text().startswith("quick ")
