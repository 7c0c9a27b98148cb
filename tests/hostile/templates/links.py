"""Symbolic links that git tracks: a way out for what is read, and for what is written."""

from __future__ import annotations

from tests.hostile.builder import Hostile, template


@template("git-commit snapshot git-push", arrival="pull")
def link_member(it: Hostile) -> None:
    """The key would go into the cache, and to the remote."""
    it.write(".gitignore", "")
    it.link("data/key", it.world.home / ".ssh/id_rsa")
    it.link("data/far", "../../../victim/data")
    it.commit()


@template("git-commit snapshot git-push", arrival="pull")
def link_artifact(it: Hostile) -> None:
    it.write("models/.gitignore", "")
    it.link("models/a.pt", it.world.home / ".ssh/id_rsa")
    it.commit()


@template("snapshot git-commit checkout", arrival="pull")
def link_parent(it: Hostile) -> None:
    it.link("models", it.world.victim)
    it.pointer("a", it.put("evil"), path="models/secret.txt")
    it.pointer("b", it.put("evil"), path="models/evil")
    it.commit()


@template("snapshot status", arrival="pull")
def link_that_a_rule_matches(it: Hostile) -> None:
    it.write("devml.toml", 'track = ["*.key", "far/**", "models/*.pt"]\n')
    it.link("my.key", it.world.home / ".ssh/id_rsa")
    it.link("far", it.world.victim)
    it.link("models/z.pt", it.world.home / "notes.txt")
    it.commit()


@template("status show", arrival="pull")
def link_pointer(it: Hostile) -> None:
    it.link("models/b.pt.dvc", it.world.victim / "params.yaml")
    it.link("c.dvc", "/dev/zero")
    it.commit()


@template("fetch git-commit checkout", visit="own")
def link_cache(it: Hostile) -> None:
    it.link(".dvc/cache", "../../../victim")
    it.commit()


@template("fetch git-commit", visit="own")
def link_tmp(it: Hostile) -> None:
    it.link(".dvc/tmp", "../../../victim")
    it.commit()


@template("status git-commit", visit="own")
def link_dvc(it: Hostile) -> None:
    it.write("settings/config", (it.path / ".dvc/config").read_text())
    it.link(".dvc", "settings")
    it.commit()


@template("status git-commit", visit="own")
def link_dvc_outside(it: Hostile) -> None:
    it.link(".dvc", it.world.victim)
    it.commit()


@template("fetch git-commit", visit="own")
def link_config(it: Hostile) -> None:
    it.link(".dvc/config", it.world.victim / "secret.txt")
    it.link(".dvc/config.local", it.world.victim / "made.local")
    it.commit()


@template("status show")
def link_devml_toml(it: Hostile) -> None:
    it.link("devml.toml", it.world.victim / "devml.toml")
    it.commit()


@template("status git-commit", arrival="pull")
def link_devml_toml_to_be_written(it: Hostile) -> None:
    it.link("devml.toml", it.world.victim / "made.toml")
    it.link("pyproject.toml", it.world.victim / "devml.toml")
    it.link(".gitignore", it.world.victim / "made.ignore")
    it.link("models/.gitignore", it.world.victim / "made.ignore")
    it.link(".gitattributes", it.world.victim / "made.attributes")
    it.link(".dvcignore", it.world.victim / "secret.txt")
    it.commit()


@template("diff show log", arrival="pull")
def link_measures(it: Hostile) -> None:
    it.link("params.yaml", it.world.victim / "params.yaml")
    it.link("metrics.json", "../../victim/metrics.json")
    it.commit()


@template("diff diff-work", arrival="pull")
def link_measures_without_an_end(it: Hostile) -> None:
    it.link("params.yaml", "/dev/zero")
    it.link("metrics.json", "/proc/self/environ")
    it.commit()


@template("status show git-commit", arrival="pull")
def link_pipeline(it: Hostile) -> None:
    it.link("dvc.yaml", it.world.victim / "params.yaml")
    it.link("dvc.lock", it.world.victim / "params.yaml")
    it.commit()


@template("status snapshot checkout")
def link_ring(it: Hostile) -> None:
    it.write(".gitignore", "")
    it.link("data/a", "b")
    it.link("data/b", "a")
    it.link("data/up", "..")
    it.link("models/loop.pt", ".")
    it.commit()


@template("git-checkout git-checkout-back git-reset", arrival="pull")
def directory_becomes_a_link(it: Hostile) -> None:
    """An artifact's parent in one commit, a link in the next: what is removed, and where?"""
    it.artifact("place/secret.txt", "evil\n")
    it.write("place/.gitignore", "/secret.txt\n")
    it.commit("before")
    it.link("place", it.world.victim)
    it.commit("after")


@template("git-checkout git-checkout-back", arrival="pull")
def directory_becomes_gits(it: Hostile) -> None:
    it.artifact("place/hooks/post-checkout", "#!/bin/sh\n# HOSTILE-PAYLOAD\n")
    it.commit("before")
    it.link("place", ".git")
    it.commit("after")
    it.remove("place")
    it.artifact("place/hooks/post-checkout", "#!/bin/sh\n# HOSTILE-PAYLOAD\n")
    it.commit("again")
