"""A disk that is full, failing or read-only: an error in words, or a right result; nothing lost.

A call of the operation, sampled evenly over those that it makes, fails with ENOSPC, EIO, EROFS or
EMFILE, once or from there on, or writes less than it was asked to.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.durability.faults import chosen, trial
from tests.durability.operations import OPERATIONS, Operation
from tests.durability.trial import Workshop

EACH, EACH_OF_GIT, EACH_LONG = 22, 5, 100  # git's commands take three times as long
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)


def campaign(operation: Operation, workshop: Workshop, number: int, seed: int) -> str:
    rng = random.Random(f"{seed} {operation.name}")
    hit = 0
    for fault in chosen(operation, workshop, number, rng):
        traced, found = trial(operation, workshop, fault)
        hit += bool(traced.hit)
        where = f"{operation.name}, seed {seed}, {fault}, at {traced.hit}"
        assert found == [], "\n".join([where, *found])
    return f"faults {operation.name}: {hit}, seed {seed}"


@each_operation
def test_some_calls_fail(
    operation: Operation, workshop: Workshop, seed: int, record_property: Any
) -> None:
    number = EACH if operation.argv[0] == "devml-git" else EACH_OF_GIT
    record_property("campaign", campaign(operation, workshop, number, seed))


@pytest.mark.long
@pytest.mark.timeout(3600)
@each_operation
def test_many_calls_fail(
    operation: Operation, workshop: Workshop, seed: int, record_property: Any
) -> None:
    record_property("campaign", campaign(operation, workshop, EACH_LONG, seed + 1))
