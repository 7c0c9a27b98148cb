"""What the campaigns found, each reduced to what it takes to see it."""

from __future__ import annotations

from devml_git.place import temporary_name
from tests.world import Project


def test_what_a_killed_command_left_beside_a_pointer_becomes_no_artifact(models: Project) -> None:
    left = temporary_name()
    models.write(f"models/{left}", "outs:\n- md5: ")
    models.write("models/a.pt", "retrained")
    ran = models.git("commit", "-qm", "x", "--allow-empty")
    assert left not in ran.err
    assert not models.exists(f"models/{left}.dvc")
    assert models.in_step()
