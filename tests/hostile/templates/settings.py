"""`.dvc/config` that runs programs, names files, or leads content and credentials elsewhere."""

from __future__ import annotations

from tests.hostile.builder import Hostile, template

# `harmless`: what is left of it, without the options that nobody takes from a tree, may be read
AWS_FILE = "[{section}]\nregion = us-east-1\ncredential_process = sh -c '{command}; echo {{}}'\n"
NOWHERE = "127.0.0.1:9"


# -- programs --------------------------------------------------------------------------------------


@template("show fetch", visit="plain", launders=True)
def bearer_token_command(it: Hostile) -> None:
    command = it.command("bearer")
    it.remote(f"bearer_token_command = \"sh -c '{command}; echo t'\"", url=f"webdav://{NOWHERE}/x")
    it.commit()


@template("show fetch", visit="plain", launders=True, harmless=True)
def aws_credentialpath(it: Hostile) -> None:
    it.write("aws.cfg", AWS_FILE.format(section="default", command=it.command("credentialpath")))
    it.remote("credentialpath = ../aws.cfg", url="s3://bucket/x")
    it.commit()


@template("show", visit="plain", harmless=True, env={"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"})
def aws_configpath(it: Hostile) -> None:
    """Of a user who has no credentials of his own, so that the file's are asked for."""
    it.write("aws.cfg", AWS_FILE.format(section="default", command=it.command("configpath")))
    it.remote("configpath = ../aws.cfg", url="s3://bucket/x")
    it.commit()


@template("verify--remote", visit="plain", harmless=True)
def aws_profile(it: Hostile) -> None:
    it.write("aws.cfg", AWS_FILE.format(section="profile evil", command=it.command("profile")))
    it.remote("configpath = ../aws.cfg", "profile = evil", url="s3://bucket/x")
    it.commit()


@template("", arrival="pull", harmless=True)
def aws_file_changed_later(it: Hostile) -> None:
    """Trust was given while the file that the option names was harmless."""
    it.write("aws.cfg", "[profile team]\nregion = us-east-1\n")
    it.remote("configpath = ../aws.cfg", "profile = team", url="s3://bucket/x")
    it.honest()
    it.write("aws.cfg", AWS_FILE.format(section="profile team", command=it.command("later")))
    it.artifact("models/a.pt", "weights 3\n")
    it.commit()


@template("show status")
def hydra_plugins(it: Hostile) -> None:
    it.program("plug/hydra_plugins/evil.py", python=True)
    it.program("plug/__init__.py", python=True)
    it.config("hydra", "enabled = true", "plugins_path = ../plug")
    it.commit()


@template("show status")
def dvc_plugins(it: Hostile) -> None:
    it.program(".dvc/plugins/evil.py", python=True)
    it.program(".dvc/plugins/__init__.py", python=True)
    it.config("plugins", "evil = evil")
    it.commit()


# -- hosts -----------------------------------------------------------------------------------------


@template("show verify--remote", visit="plain")
def ssh_to_a_stranger(it: Hostile) -> None:
    it.remote("user = root", "allow_agent = true", url=f"ssh://{NOWHERE}/srv/x")
    it.commit()


@template("fetch")
def ssh_with_the_users_key(it: Hostile) -> None:
    key = it.world.home / ".ssh/id_rsa"
    it.remote("user = root", f"keyfile = {key}", url=f"ssh://{NOWHERE}/srv/x")
    it.commit()


@template("show fetch")
def ssh_with_a_key_of_theirs(it: Hostile) -> None:
    it.write(
        "key", "-----BEGIN OPENSSH PRIVATE KEY-----\nnone\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    it.remote("keyfile = ../key", "password = x", "gss_auth = true", url=f"ssh://{NOWHERE}/srv/x")
    it.commit()


@template("fetch show")
def ssh_that_asks_for_a_password(it: Hostile) -> None:
    it.remote("ask_password = true", "ask_passphrase = true", url=f"ssh://u@{NOWHERE}/srv/x")
    it.commit()


@template("show", visit="plain")
def http_on_loopback(it: Hostile) -> None:
    it.remote("auth = basic", "user = u", "password = p", url=f"http://{NOWHERE}/x")
    it.commit()


@template("show", visit="plain", harmless=True)
def https_is_looked_at(it: Hostile) -> None:
    """What only looks never connects where nothing was set up, harmless or not."""
    it.remote(url="https://127.0.0.1:9/x")
    it.commit()


@template("fetch")
def http_with_certificates_of_the_user(it: Hostile) -> None:
    secret = it.world.home / "notes.txt"
    it.remote(f"ssl_verify = {secret}", "ask_password = true", "auth = custom",
              "custom_auth_header = X", url=f"https://{NOWHERE}/x")  # fmt: skip
    it.commit()


@template("show", visit="plain", harmless=True)
def webdav_with_certificates(it: Hostile) -> None:
    secret = it.world.home / "notes.txt"
    it.remote(f"cert_path = {secret}", f"key_path = {secret}", "user = u", "password = p",
              url=f"webdavs://{NOWHERE}/x")  # fmt: skip
    it.commit()


@template("show fetch git-push", launders=True)
def s3_endpoint(it: Hostile) -> None:
    """The user's ambient credentials would sign a request to a stranger's host."""
    it.remote(f"endpointurl = http://{NOWHERE}", url="s3://bucket/x")
    it.commit()


@template("show verify--remote", visit="plain")
def s3_versions(it: Hostile) -> None:
    it.remote(f"endpointurl = http://{NOWHERE}", "version_aware = true",
              "use_ssl = false", url="s3://bucket/x")  # fmt: skip
    it.commit()


@template("show fetch")
def gs_credentials(it: Hostile) -> None:
    key = it.world.home / ".config/gcloud/application_default_credentials.json"
    it.remote(f"credentialpath = {key}", f"endpointurl = http://{NOWHERE}", url="gs://bucket/x")
    it.commit()


@template("show fetch")
def gdrive_credentials(it: Hostile) -> None:
    it.remote("gdrive_use_service_account = true",
              f"gdrive_service_account_json_file_path = {it.world.home / 'notes.txt'}",
              f"gdrive_user_credentials_file = {it.world.victim / 'made.json'}",
              url="gdrive://root/x")  # fmt: skip
    it.commit()


@template("show fetch", harmless=True)
def azure_connection(it: Hostile) -> None:
    it.remote(f"connection_string = BlobEndpoint=http://{NOWHERE}/x;AccountName=a;AccountKey=eA==",
              url="azure://container/x")  # fmt: skip
    it.commit()


@template("show fetch")
def webhdfs(it: Hostile) -> None:
    it.remote("kerberos = true", "token = x", "use_https = false", url=f"webhdfs://{NOWHERE}/x")
    it.commit()


@template("show fetch")
def chain_of_remotes(it: Hostile) -> None:
    it.remote(url="remote://other/deep")
    it.config("'remote \"other\"'", f"url = http://{NOWHERE}/x")
    it.commit()


@template("show fetch status")
def ring_of_remotes(it: Hostile) -> None:
    it.remote(url="remote://other/deep")
    it.config("'remote \"other\"'", "url = remote://storage/x")
    it.commit()


@template("status show", visit="own")
def studio_is_told(it: Hostile) -> None:
    it.config("studio", "token = x", f"url = http://{NOWHERE}", "repo_url = x", "offline = false")
    it.config("exp", "auto_push = true", "git_remote = origin")
    it.config("core", "check_update = true", "analytics = true")
    it.commit()


# -- places ----------------------------------------------------------------------------------------


@template("show fetch git-commit", visit="own")
def site_cache_dir(it: Hostile) -> None:
    text = f"[core]\n    remote = storage\n    site_cache_dir = {it.world.victim / 'made'}\n"
    it.write(".dvc/config", text + f"['remote \"storage\"']\n    url = {it.world.remote}\n")
    it.commit()


@template("fetch git-commit")
def cache_dir(it: Hostile) -> None:
    it.config("cache", f"dir = {it.world.victim / 'made'}", "shared = group")
    it.commit()


@template("fetch git-commit git-push")
def cache_dir_in_home(it: Hostile) -> None:
    it.config("cache", "dir = ../../../home/x-cache", "type = symlink,hardlink")
    it.commit()


@template("fetch git-commit")
def state_and_index_dir(it: Hostile) -> None:
    it.config("state", f"dir = {it.world.victim / 'state'}")
    it.config("index", f"dir = {it.world.victim / 'index'}")
    it.commit()


@template("git-commit git-push", visit="own")
def config_local_in_git(it: Hostile) -> None:
    text = f"['remote \"storage\"']\n    url = {it.world.elsewhere}\n"
    it.write(".dvc/config.local", text + f"[cache]\n    dir = {it.world.victim / 'made'}\n")
    it.commit()


@template("git-commit git-push", arrival="squash", launders=True)
def another_directory(it: Hostile) -> None:
    it.remote(url=it.world.elsewhere / "made")
    it.sends_to.append(it.world.elsewhere)
    it.commit()


@template("git-commit git-push")
def url_into_home(it: Hostile) -> None:
    it.remote(url="../../../home/made")
    it.sends_to.append(it.world.home / "made")
    it.commit()


@template("git-commit git-push")
def url_of_a_file(it: Hostile) -> None:
    it.remote(url=f"file://{it.world.victim}/made")
    it.sends_to.append(it.world.victim / "made")
    it.commit()


@template("git-commit git-push")
def url_with_variables(it: Hostile) -> None:
    it.remote(url="${HOME}/made")
    it.sends_to.append(it.world.home / "made")
    it.commit()


@template("git-commit git-push")
def url_with_a_tilde(it: Hostile) -> None:
    it.remote(url="~/made")
    it.sends_to.append(it.world.home / "made")
    it.commit()


@template("git-commit git-push", visit="own")
def first_upload(it: Hostile) -> None:
    """Nothing hostile in it: but the first upload to a remote that came along is asked for."""
    it.commit()


@template("status show fetch")
def config_that_is_none(it: Hostile) -> None:
    it.write(".dvc/config", "[core\nremote = \x1b[2J\n[[[\n\x00= \udcff\n")
    it.commit()


@template("status show", harmless=True)
def options_of_wrong_types(it: Hostile) -> None:
    it.remote("verify = \x1b[31mmaybe", "jobs = -1", "timeout = 1e99", "nonsense = 1",
              url="s3://bucket/x")  # fmt: skip
    it.config("nonsense", "a = b")
    it.config("'remote \"\"'", "url =")
    it.commit()
