"""The documentation names every command and every option."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tests.remotes.remote import Remote
from tests.world import Project, devml, run

ROOT = Path(__file__).parents[1]


def documentation() -> str:
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n".join(f.read_text("utf-8") for f in files if f.name != "ARCHITECTURE.md")


def help_of(*command: str) -> str:
    ran = devml(*command, "--help", cwd=Path.cwd())
    assert ran.status == 0, ran.err
    return ran.out


def commands(*above: str) -> list[tuple[str, ...]]:
    """Return every command that has no commands below it, as typed."""
    text = help_of(*above)
    if "\nCommands:\n" not in text:
        return [above]
    block = text.split("\nCommands:\n")[1]
    names = re.findall(r"^  (\S+)", block, re.MULTILINE)
    return [found for name in names for found in commands(*above, name)]


def options(text: str) -> set[str]:
    return set(re.findall(r"^\s+(?:-\w, )?(--[a-z][a-z-]*|-\w)\b", text, re.MULTILINE)) - {
        "--help",
        "-h",
    }


def test_example_for_ci_works_as_it_is_written(
    models: Project, storages: Callable[..., Remote], tmp_path: Path
) -> None:
    """Each `run:` but for pip's, in a clone with nothing but the secrets."""
    from ruamel.yaml import YAML

    models.differential = False
    storage = storages("s3")
    secrets = {
        "AWS_ACCESS_KEY_ID": storage.options["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": storage.options["secret_access_key"],
    }
    models.dvc("remote", "add", "-q", "-d", "storage", storage.url)
    for key in ("endpointurl", "region"):
        models.dvc("remote", "modify", "-q", "storage", key, storage.options[key])
    models.commit("storage")
    run("git", "init", "-q", "--bare", str(tmp_path / "bare"), cwd=tmp_path)
    models.git("push", "-q", str(tmp_path / "bare"), "main", env=secrets)
    jobs = YAML(typ="safe").load((ROOT / "docs/ci-verify.yml").read_text("utf-8"))["jobs"]
    run("git", "clone", "-q", str(tmp_path / "bare"), "clone", cwd=tmp_path)
    steps = jobs["verify"]["steps"]
    names = {name for step in steps for name in step.get("env", {})}
    assert names == set(secrets)
    lines = [step["run"] for step in steps if "run" in step and "pip install" not in step["run"]]
    assert len(lines) == 2
    for line in lines:
        run("sh", "-ec", line, cwd=tmp_path / "clone", env=secrets)
    found = json.loads((tmp_path / "clone/verify.json").read_text())
    verdicts = [c["verdict"] for c in found["commits"]]
    assert set(verdicts) == {"recoverable"}, "an empty cache, and a whole remote"
    assert found["problems"] == []
    (oid,) = set(re.findall(r"md5: ([0-9a-f]{32})", models.show("v2", "models/a.pt.dvc")))
    storage.remove(oid)
    assert run("sh", "-ec", lines[1], cwd=tmp_path / "clone", env=secrets, check=False).status == 1


def test_all_commands_are_found() -> None:
    found = {" ".join(c) for c in commands()}
    assert {"init", "checkout", "hooks install", "rescue restore"} <= found


def test_every_command_is_documented() -> None:
    text = documentation()
    missing = [
        c for c in commands() if not re.search(rf"(devml-git |git devml |`){' '.join(c)}\b", text)
    ]
    assert missing == []


def test_every_option_is_documented() -> None:
    text = documentation()
    asked = [(), *commands()]
    missing = {
        (" ".join(command), option)
        for command in asked
        for option in options(help_of(*command))
        if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)
    }
    assert missing == set()
