"""The documentation names every command and every option."""

from __future__ import annotations

import re
from pathlib import Path

from tests.world import devml

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
