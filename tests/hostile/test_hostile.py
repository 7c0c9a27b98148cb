"""A stranger's repository: nothing it says is run, asked, read or written beyond its workspace.

In `make test` some templates, each in the way and with the commands where it bites; all of them
come in turn with `DEVML_HOSTILE_SEED`. In `make test-long` all, in every way, with all commands.
"""

from __future__ import annotations

import os

import pytest

from tests.hostile import trace, trial
from tests.hostile.trial import Case, cases, quick_cases

SEED = int(os.environ.get("DEVML_HOSTILE_SEED", "0"))
SHARE = 6  # one in six templates in every run, beside those that are in all
BLOCK = 10  # cases in one long test
ALWAYS = {
    "bearer_token_command", "aws_file_changed_later", "another_directory", "first_upload",
    "ssh_to_a_stranger", "link_member", "link_cache", "cache_dir", "modules_and_empty_path",
    "programs_and_dot_path", "laughing_params", "matrix", "metrics_from_outside", "many_pointers",
    "broken_pointers_with_control_characters", "link_devml_toml", "twins_swapped",
}  # fmt: skip


def few() -> list[Case]:
    """Return some forty cases, of every kind."""
    always = [c for c in quick_cases() if c.template.name in ALWAYS]
    others = [c for c in quick_cases() if c.template.name not in ALWAYS]
    return always + others[SEED % SHARE :: SHARE]


def hold(chosen: list[Case], request: pytest.FixtureRequest, *, quick: bool) -> None:
    """Try some cases; all must hold."""
    if why := trace.missing():
        pytest.skip(why)
    told = [trial.attempt(case, quick=quick) for case in chosen]
    broken = [f"{one.case}: {b}" for one in told for b in dict.fromkeys(one.breaks)]
    held = sum(not one.breaks for one in told)
    request.node.user_properties.append(("hostile", f"{held} {len(told)}"))
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("case", few(), ids=str)
def test_hostile_repository_is_inert(case: Case, request: pytest.FixtureRequest) -> None:
    hold([case], request, quick=True)


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, len(cases()), BLOCK))
def test_hostile_repositories_are_inert(first: int, request: pytest.FixtureRequest) -> None:
    hold(cases()[first : first + BLOCK], request, quick=False)


def test_there_are_enough_of_them() -> None:
    assert len({case.template.name for case in cases()}) >= 60
    assert len(cases()) >= 300
    assert len(few()) >= 40
    assert {case.template.name for case in few()} > ALWAYS
