"""What is printed: one answer on stdout, the rest on stderr, nothing of a name's own making."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from devml_git.output import Output
from tests.test_docs import commands, help_of
from tests.world import Project, devml, devml_process, run

HOSTILE = "models/[red]x[/red] \u202ename.pt"


def shown(argv: list[str], cwd: Path, env: dict[str, str]) -> str:
    """Run devml-git on a terminal and return what it shows there."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execve(sys.executable, [sys.executable, "-m", "devml_git", *argv], {**os.environ, **env})
    data = b""
    try:
        while part := os.read(fd, 1 << 16):
            data += part
    except OSError:
        pass
    os.waitpid(pid, 0)
    os.close(fd)
    return data.decode()


# -- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "\r", "\n", "\x07", "\x9b31m", "\u202e", "\u2028", "\x00", "\udcff"]
)
def test_control_characters_are_escaped(hostile: str, capfd: pytest.CaptureFixture[str]) -> None:
    o = Output()
    o.answer(f"a{hostile}b")
    o.remark(f"a{hostile}b")
    o.table([(f"a{hostile}b", "c")])
    o.error(f"a{hostile}b", f"a{hostile}b", 2, as_json=False)
    out, err = capfd.readouterr()
    assert hostile.strip("\n") not in (out + err) or hostile == "\n"
    assert out.count("\n") == 2
    assert err.count("\n") == 3


def test_list_in_an_error_stands_on_lines_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    Output().error("wrong:\n  one\n  two\nhint: forged", None, 2, as_json=False)
    assert capfd.readouterr().err == "error: wrong:\n  one\n  two\\nhint: forged\n"


def test_markup_in_a_name_is_printed_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    Output().answer("[red]x[/red] :smile:")
    assert capfd.readouterr().out == "[red]x[/red] :smile:\n"


def test_markup_in_a_name_is_printed_as_it_is_in_colour(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    Output().table([("clean", "[red]x[/red] :smile: [/]")])
    out = capfd.readouterr().out
    assert "\x1b[32m" in out
    assert "clean  [red]x[/red] :smile: [/]" in out


def test_long_lines_are_not_wrapped(capfd: pytest.CaptureFixture[str]) -> None:
    Output().table([("clean", "n" * 500)])
    assert capfd.readouterr().out == f"clean  {'n' * 500}\n"


def test_quiet_keeps_answers_and_errors_and_drops_remarks(
    capfd: pytest.CaptureFixture[str],
) -> None:
    o = Output(quiet=True)
    o.answer("answer")
    o.remark("remark")
    o.error("wrong", None, 2, as_json=False)
    assert capfd.readouterr() == ("answer\n", "error: wrong\n")


def test_document_is_one_json_value(capfd: pytest.CaptureFixture[str]) -> None:
    Output().document({"schema": "x", "name": HOSTILE})
    assert json.loads(capfd.readouterr().out) == {"schema": "x", "name": HOSTILE}


def test_text_is_utf8_whatever_the_locale(project: Project) -> None:
    project.write("models/é🙂.pt", "x")
    ran = devml_process("status", cwd=project.path, env={"LC_ALL": "C"})
    assert "models/é🙂.pt" in ran.out


# -- commands ------------------------------------------------------------------------------------


def test_piped_status_is_plain(project: Project) -> None:
    project.write("models/a.pt", "x")
    ran = devml_process("status", cwd=project.path, env={"NO_COLOR": ""})
    assert "\x1b" not in ran.out + ran.err
    assert "models/a.pt" in ran.out


def test_terminal_gets_colour_and_no_color_takes_it_away(project: Project) -> None:
    project.write("models/a.pt", "x")
    assert "\x1b[" in shown(["status"], project.path, {"NO_COLOR": "", "TERM": "xterm"})
    assert "\x1b[3" not in shown(["status"], project.path, {"NO_COLOR": "1", "TERM": "xterm"})


@pytest.mark.parametrize(
    "command", [("status",), ("doctor",), ("hooks", "status"), ("rescue", "list")]
)
def test_json_is_a_single_document_on_stdout(command: tuple[str, ...], project: Project) -> None:
    ran = devml(*command, "--json", cwd=project.path)
    assert ran.json["schema"].startswith("devml.")
    assert ran.out.endswith("}\n")


def test_error_is_two_lines_on_stderr(sealed: Path) -> None:
    ran = devml_process("status", cwd=sealed)
    assert ran.status == 10
    assert ran.out == ""
    assert re.fullmatch(r"error: [^\n]+\nhint: [^\n]+\n", ran.err)


def test_error_with_json_is_one_document_on_stderr(sealed: Path) -> None:
    ran = devml_process("status", "--json", cwd=sealed)
    assert ran.out == ""
    document = json.loads(ran.err)
    assert list(document) == ["schema", "code", "message", "hint"]
    assert (document["schema"], document["code"], ran.status) == ("devml.error/v1", 10, 10)


def test_error_names_a_hostile_path_without_its_controls(project: Project) -> None:
    ran = project.devml("snapshot", "nothing\x1b[2Jhere", check=False)
    assert ran.status == 2
    assert "\x1b" not in ran.err
    assert "nothing\\x1b[2Jhere" in ran.err


def test_traceback_is_shown_only_when_asked(sealed: Path) -> None:
    assert "Traceback" not in devml("status", cwd=sealed).err
    assert "Traceback" in devml_process("status", "--traceback", cwd=sealed).err


@pytest.mark.parametrize(
    "argv",
    [
        ("nonsense",), ("status", "--nonsense"), ("--nonsense",), ("hooks", "nonsense"), ("track",),
        ("rescue", "restore"), ("checkout", "--to"), ("hooks", "run", "nonsense"), ("status", "extra"),
        ("snapshot", "no-such-artifact"), ("checkout", "no-such-rev"), ("untrack", "nothing"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_exits_with_2_and_says_what_helps(
    argv: tuple[str, ...], project: Project
) -> None:
    ran = devml(*argv, cwd=project.path)
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert "\nhint: " in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "flag", ["-v", "--verbose", "-q", "--quiet", "--no-progress", "--traceback"]
)
def test_global_option_stands_before_or_after_the_command(flag: str, models: Project) -> None:
    before, after = devml(flag, "status", cwd=models.path), devml("status", flag, cwd=models.path)
    assert before == after
    assert before.status == 0


def test_verbose_status_shows_clean_artifacts_too(models: Project) -> None:
    assert "models/a.pt" in devml("status", "-v", cwd=models.path).out
    assert "models/a.pt" not in devml("status", cwd=models.path).out


def test_global_option_after_dashes_is_a_path(project: Project) -> None:
    ran = project.devml("snapshot", "--", "-q", check=False)
    assert ran.status == 2
    assert "-q is not tracked" in ran.err


@pytest.mark.parametrize("command", ["track", "untrack", "snapshot"])
def test_dashes_themselves_are_no_path(command: str, project: Project) -> None:
    project.write("models/a.pt", "x")
    project.devml("snapshot")
    project.devml(command, "--", "models/a.pt")
    assert not re.search(r"(^|\s)--(\s|$)", project.read("devml.toml"))


def test_commit_passes_its_options_to_git(project: Project) -> None:
    project.write("models/a.pt", "x")
    project.devml("commit", "-q", "-m", "quietly")
    assert run("git", "log", "-1", "--format=%s", cwd=project.path).out == "quietly\n"


def test_version_is_printed() -> None:
    assert re.fullmatch(r"devml-git \d+\.\S+\n", devml("--version", cwd=Path.cwd()).out)


def test_every_command_helps_with_an_example() -> None:
    for command in commands():
        text = help_of(*command)
        assert "Example: devml-git " + " ".join(command) in re.sub(r"\s+", " ", text), command


def test_short_help_is_the_same() -> None:
    assert devml("status", "-h", cwd=Path.cwd()).out == help_of("status")


def test_no_command_shows_help_and_all_commands() -> None:
    text = devml(cwd=Path.cwd())
    assert "status" in text.out + text.err
    assert "checkout" in text.out + text.err


def test_closed_pipe_is_no_error(project: Project) -> None:
    command = f"{sys.executable} -m devml_git status | true; exit ${{PIPESTATUS[0]}}"
    ran = run("bash", "-c", command, cwd=project.path, check=False)
    assert ran.err == ""
    assert ran.status in {0, 141}


def test_json_on_a_terminal_has_no_raw_controls(capfd: pytest.CaptureFixture[str]) -> None:
    hostile = {"a\x9b\x7f": "\u202e\u2066\x1b[2J\udc9b\u2028é"}
    Output().document(hostile)
    Output().stream("s", "items", [hostile])
    Output().error("\x9b", None, 1, as_json=True)
    done = capfd.readouterr()
    assert not set(done.out + done.err) & set("\x9b\x7f\u202e\u2066\x1b\u2028")
    assert json.loads(done.out[: done.out.index("}") + 1]) == hostile
