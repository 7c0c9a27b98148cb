"""Pointers, manifests and pipelines that name what they must not: paths, hashes, programs."""

from __future__ import annotations

from tests.hostile.builder import PAYLOAD, Hostile, template

HOOK = f"#!/bin/sh\n# {PAYLOAD}\n"


# -- members of a directory ------------------------------------------------------------------------


def _member(it: Hostile, *paths: str, data: str = PAYLOAD) -> None:
    """A directory whose members have these paths."""
    oid = it.put(data)
    it.directory("d", [{"md5": oid, "relpath": path} for path in paths])
    it.commit()


@template("fetch checkout")
def member_above(it: Hostile) -> None:
    _member(it, "../../../victim/evil", "ok", "../../victim/evil", "a/../../../evil")


@template("git-checkout git-checkout-back", arrival="pull")
def member_is_a_hook(it: Hostile) -> None:
    _member(it, "../.git/hooks/post-merge", data=HOOK + it.command("hook"))


@template("", arrival="pull")
def member_is_gits_configuration(it: Hostile) -> None:
    command = it.command("fsmonitor")
    _member(it, "../.git/config", data=f'[core]\n# {PAYLOAD}\nfsmonitor = "{command}"\n')


@template("checkout")
def member_is_absolute(it: Hostile) -> None:
    _member(it, str(it.world.victim / "evil"), "//x/y")


@template("checkout status")
def member_is_of_dvc(it: Hostile) -> None:
    _member(
        it, "../.dvc/config.local", ".dvc/config", ".GIT/hooks/x", ".git/config", "GIT~1/config"
    )


@template("checkout diff")
def members_with_odd_names(it: Hostile) -> None:
    _member(
        it, "a//b", "./a", "a", "a/b", "C:\\x", "\\\\srv\\x", "CON", "x.", "n\nl", "", ".", ".."
    )


@template("checkout show")
def members_twice(it: Hostile) -> None:
    _member(it, "a", "a", "A", "a/b", "e\u0301", "\xe9")


@template("checkout show")
def member_with_nul(it: Hostile) -> None:
    _member(it, "a\0b", "\ud800", "x" * 5000, "/".join("d" * 900))


@template("checkout fetch git-push")
def member_oid_leads_outside(it: Hostile) -> None:
    oid = "../../../../../../victim/secret.txt"
    it.directory("d", [{"md5": oid, "relpath": "a"}, {"md5": str(it.world.victim), "relpath": "b"}])
    it.commit()


@template("checkout show")
def manifest_of_other_shapes(it: Hostile) -> None:
    for n, text in enumerate(("{}", "[1]", "null", '[{"md5": 1, "relpath": 2}]', "[[]]", "\xff", '"x"',
                              '[{"relpath": "x"}]', '[{"md5": null, "relpath": "x"}]')):  # fmt: skip
        oid = f"{n:032x}.dir"
        it.put(text, oid)
        it.pointer(f"d{n}", oid)
    it.commit()


# -- outputs -----------------------------------------------------------------------------------------


@template("checkout status")
def out_above(it: Hostile) -> None:
    it.pointer("x", it.put(PAYLOAD), path="../../victim/evil")
    it.commit()


@template("checkout git-push")
def out_is_a_secret(it: Hostile) -> None:
    """As if the user had tracked his key: a snapshot would take it up, a push send it."""
    it.pointer("x", it.put(PAYLOAD), path="../../home/.ssh/id_rsa")
    it.pointer("y", it.put(PAYLOAD), path=str(it.world.home / "notes.txt"))
    it.commit()


@template("git-commit git-push snapshot", arrival="pull")
def working_directory_outside(it: Hostile) -> None:
    it.write(
        "x.dvc",
        f"wdir: ../../victim\nouts:\n- md5: {it.put(PAYLOAD)}\n  size: 1\n  path: secret.txt\n",
    )
    it.write(
        "sub/y.dvc", f"wdir: {it.world.home}\nouts:\n- md5: {it.put('y')}\n  path: notes.txt\n"
    )
    it.commit()


@template("checkout git-checkout", arrival="pull")
def out_is_a_hook(it: Hostile) -> None:
    oid = it.put(HOOK + it.command("out-hook"))
    for n, path in enumerate((".git/hooks/post-checkout", ".GIT/hooks/post-checkout", ".git")):
        it.pointer(f"x{n}", oid, path=path, more="  isexec: true\n")
    it.commit()


@template("checkout status")
def out_is_a_setting(it: Hostile) -> None:
    for n, path in enumerate((".gitignore", ".dvc/config", ".dvc/config.local", ".gitattributes",
                              "devml.toml", ".dvc", ".", "")):  # fmt: skip
        it.pointer(f"x{n}", it.put(f"* filter={PAYLOAD}\n"), path=path)
    it.commit()


@template("checkout fetch")
def out_over_code(it: Hostile) -> None:
    """DVC's content in the place of a file that git tracks."""
    it.pointer("x", it.put(PAYLOAD), path="train.py")
    it.pointer("y", it.put(PAYLOAD), path="models")
    it.commit()


@template("checkout", arrival="pull")
def out_through_a_link(it: Hostile) -> None:
    it.link("lnk", ".git/hooks")
    it.link("far", it.world.victim)
    it.pointer("x", it.put(HOOK + it.command("link-hook")), path="lnk/post-checkout",
               more="  isexec: true\n")  # fmt: skip
    it.pointer("y", it.put(PAYLOAD), path="far/evil")
    it.commit()


@template("fetch git-push verify")
def oid_leads_outside(it: Hostile) -> None:
    it.pointer("x", "../../../../../../victim/secret.txt")
    it.pointer("y", str(it.world.victim / "secret.txt"))
    it.commit()


@template("show fetch status")
def oid_of_other_shapes(it: Hostile) -> None:
    for n, oid in enumerate(("1234", "A" * 32, "0" * 32 + ".dir.dir", "~", "[]", "{a: b}", "-1",
                             "'" + "0" * 31 + "\n'", "1" * 4000)):  # fmt: skip
        it.write(f"x{n}.dvc", f"outs:\n- md5: {oid}\n  size: 1\n  hash: md5\n  path: x{n}\n")
    it.commit()


@template("show status fetch")
def sizes_that_lie(it: Hostile) -> None:
    for n, size in enumerate(("-1", "99999999999999999999", "1e308", ".nan", "[]", "'1'")):
        it.write(
            f"x{n}.dvc",
            f"outs:\n- md5: {it.put('x')}\n  size: {size}\n  nfiles: {size}\n  path: x{n}\n",
        )
    it.commit()


@template("status show diff")
def pointers_of_other_shapes(it: Hostile) -> None:
    for n, text in enumerate(("", "[]", "outs: 1\n", "outs: [1]\n", "outs: [{}]\n", "a: b: c\n", "\0",
                              "outs:\n- path: [x]\n  md5: 1\n", "!!python/object/apply:os.system [id]\n",
                              "outs: &a [*a]\n", "? {a: b}\n: c\n", "\ufeffouts: []\n", "%YAML 9.9\n---\n")):  # fmt: skip
        it.write(f"x{n}.dvc", text)
    it.commit()


@template("fetch show")
def out_with_a_remote_of_its_own(it: Hostile) -> None:
    it.config("'remote \"evil\"'", "url = http://127.0.0.1:9/x")
    it.pointer("x", it.put("x"), more="  remote: evil\n")
    it.commit()


@template("fetch show")
def out_in_the_cloud(it: Hostile) -> None:
    it.write("x.dvc", "outs:\n- path: s3://bucket/x\n  etag: a\n- path: ssh://127.0.0.1:9/x\n  md5: b\n"
                      "- path: x\n  cloud: {storage: {etag: a, version_id: b}}\n  hash: etag\n")  # fmt: skip
    it.commit()


# -- imports and pipelines -----------------------------------------------------------------------------


@template("status checkout fetch")
def import_by_ext(it: Hostile) -> None:
    url = f"ext::sh -c {it.command('ext').replace(' ', '% ')}"
    it.write("x.dvc", f"frozen: true\ndeps:\n- path: x\n  repo:\n    url: \"{url}\"\n    rev_lock: {'0' * 40}\n"
                      f"outs:\n- md5: {'0' * 32}\n  size: 1\n  path: x\n")  # fmt: skip
    it.commit()


@template("checkout fetch")
def import_from_elsewhere(it: Hostile) -> None:
    for n, url in enumerate((it.world.victim, "http://127.0.0.1:9/r.git", "ssh://127.0.0.1:9/r",
                             "--upload-pack=touch", "git@127.0.0.1:r")):  # fmt: skip
        it.write(f"x{n}.dvc", f"frozen: true\ndeps:\n- path: secret.txt\n  repo:\n    url: {url}\n    config: "
                              f"{it.world.victim}/c\nouts:\n- md5: {'1' * 32}\n  size: 1\n  path: x{n}\n")  # fmt: skip
    it.commit()


@template("checkout fetch git-commit")
def import_of_an_address(it: Hostile) -> None:
    it.write("x.dvc", "deps:\n- path: http://127.0.0.1:9/x\n  etag: a\n"
                      f"outs:\n- md5: {'2' * 32}\n  size: 1\n  path: x\n")  # fmt: skip
    it.write(
        "y.dvc",
        f"deps:\n- path: {it.world.victim}/secret.txt\nouts:\n- md5: {'3' * 32}\n  path: y\n",
    )
    it.commit()


@template("status show git-commit", arrival="pull")
def stage_that_runs(it: Hostile) -> None:
    it.write("dvc.yaml", f"stages:\n  a:\n    cmd: {it.command('stage')}\n    always_changed: true\n"
                         "    outs: [m.txt]\n  b:\n    cmd: [sh -c x]\n    wdir: ../../victim\n"
                         "    deps: [secret.txt]\n    outs: [o]\n")  # fmt: skip
    it.commit()


@template("status diff show", arrival="pull")
def variables_from_outside(it: Hostile) -> None:
    it.write("dvc.yaml", "vars:\n- ../../home/x.yaml\n- ../../home/x.py\nstages:\n  a:\n    cmd: x\n"
                         "    outs: ['${lr}.txt']\n")  # fmt: skip
    it.commit()


@template("diff git-commit", arrival="pull")
def metrics_from_outside(it: Hostile) -> None:
    """Absolute paths: `diff` once looked for their directory without an end."""
    victim = it.world.victim
    it.write("dvc.yaml", f"metrics: [{victim}/metrics.json, ../../victim/metrics.json]\n"
                         f"params: [{victim}/params.yaml, ../../victim/params.yaml]\n"
                         f"plots:\n- {victim}/metrics.json:\n    template: {victim}/secret.txt\n"
                         "artifacts:\n  m: {path: ../../victim/secret.txt}\n")  # fmt: skip
    it.commit()


@template("diff log", arrival="pull")
def metrics_of_ours_from_outside(it: Hostile) -> None:
    it.write("devml.toml", f'metrics = ["{it.world.victim}/metrics.json", "../../victim/*.json"]\n'
                           f'params = ["{it.world.victim}/params.yaml", "/**"]\ntrack = ["../../victim/**", "/**/x"]\n')  # fmt: skip
    it.commit()


@template("checkout git-commit", arrival="pull")
def lock_that_leads_outside(it: Hostile) -> None:
    it.write("dvc.yaml", "stages:\n  a:\n    cmd: x\n    outs: [../../victim/secret.txt, m.txt]\n")
    it.write("dvc.lock", "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n    - path: ../../victim/secret.txt\n"
                         f"      md5: {it.put(PAYLOAD)}\n      size: 1\n    - path: m.txt\n      md5: ../../x\n")  # fmt: skip
    it.commit()


# -- what lies below .dvc --------------------------------------------------------------------------------


@template("checkout git-commit")
def scratch_of_dvc_in_git(it: Hostile) -> None:
    it.write(".dvc/tmp/rwlock", '{"models/a.pt": {"write": {"pid": 1, "cmd": "\x1b[2J"}}}')
    it.write(".dvc/tmp/lock", "1")
    it.write(".dvc/tmp/btime", "")
    it.write(".dvc/tmp/updater", "{")
    it.write(".dvc/tmp/exps/celery/broker/in/x", "x")
    it.commit()


@template("checkout verify")
def cache_in_git(it: Hostile) -> None:
    """Objects that are not what their names say, where a DVC cache would be."""
    oid = it.put("right\n")
    it.write(f".dvc/cache/files/md5/{oid[:2]}/{oid[2:]}", PAYLOAD)
    it.write(f".git-like/devml/cache/files/md5/{oid[:2]}/{oid[2:]}", PAYLOAD)
    it.pointer("x", oid)

    def came(place: object) -> str:
        file = it.world.root / str(place) / "x"
        return "wrong bytes were believed" if file.is_file() and PAYLOAD in file.read_text() else ""

    it.checks.append(came)
    it.commit()
