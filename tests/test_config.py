"""What the user decided: defaults, both places, errors that help, and edits that keep the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devml_git import config
from devml_git.config import Config, Hooks
from devml_git.errors import UsageError


def own(tmp_path: Path, text: str) -> Config:
    (tmp_path / "devml.toml").write_text(text)
    return config.load(tmp_path)


def test_defaults_without_a_file(tmp_path: Path) -> None:
    found = config.load(tmp_path)
    assert found == Config()
    assert found.hooks == Hooks("snapshot", restore=True, fetch=True, pre_push="upload")
    assert (found.track, found.large_file, found.integrity) == ((), 10_000_000, "sha256")
    assert found.file is None


def test_every_key_is_read(tmp_path: Path) -> None:
    found = own(
        tmp_path,
        'track = ["models/**", "data/"]\nmetrics = ["m.json"]\nparams = ["p.yaml"]\n'
        'large-file = "1GiB"\nintegrity = "md5"\n[hooks]\npre-commit = "check"\nrestore = false\n'
        'fetch = false\npre-push = "off"\n[tables]\n"data/*.csv" = ["id", "day"]\n',
    )
    assert found == Config(
        ("models/**", "data/"), ("m.json",), ("p.yaml",), 1 << 30, "md5",
        Hooks("check", restore=False, fetch=False, pre_push="off"),
        tables={"data/*.csv": ("id", "day")}, file="devml.toml",
    )  # fmt: skip
    assert found.key_of("data/x.csv") == ("id", "day")
    assert found.key_of("other.csv") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tables = 3\n", "tables is not a table"),
        ('[tables]\n"x.csv" = "id"\n', "x.csv is not a list of strings"),
        ('[tables]\n"x.csv" = []\n', "'x.csv' names no column"),
        ('[tables]\n"x.csv" = [""]\n', "'x.csv' names no column"),
        ('[better]\nacc = ["higher"]\n', "better.acc is"),
    ],
)
def test_wrong_tables_are_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        own(tmp_path, text)


def test_table_in_pyproject_wins_over_the_own_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.devml-git]\ntrack = ["a"]\n')
    assert own(tmp_path, 'track = ["b"]\n').track == ("a",)
    assert config.config_file(tmp_path) == "pyproject.toml"


def test_pyproject_without_the_table_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "devml-git"\n[tool.ruff]\n')
    assert own(tmp_path, 'track = ["b"]\n').track == ("b",)
    assert config.config_file(tmp_path) == "devml.toml"


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("trak = []\n", "trak", "track"),
        ("large_file = 5\n", "large_file", "large-file"),
        ("metric = []\n", "metric", "metrics"),
        ("[hooks]\nprecommit = 'off'\n", "hooks.precommit", "hooks.pre-commit"),
        ("[hooks]\nprepush = 'off'\n", "hooks.prepush", "hooks.pre-push"),
        ("[hook]\nfetch = true\n", "hook", "hooks"),
    ],
)
def test_unknown_key_is_an_error_that_names_the_nearest(
    text: str, key: str, nearest: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"devml.toml: unknown key '{key}'") as caught:
        own(tmp_path, text)
    assert caught.value.hint is not None
    assert f"did you mean {nearest}?" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "track = 'models'\n", "track = [1]\n", "track = true\n", "metrics = 'm'\n", "params = {}\n",
        'track = ["a\\nb"]\n', 'track = ["a\\u0000b"]\n', "large-file = 'big'\n",
        "large-file = -1\n", "large-file = true\n", "large-file = []\n", "large-file = '1XB'\n",
        "integrity = 'crc'\n", "integrity = 1\n", "hooks = 1\n", "hooks = []\n",
        "[hooks]\nrestore = 'yes'\n", "[hooks]\nfetch = 1\n", "[hooks]\npre-commit = true\n",
        "[hooks]\npre-push = 'sometimes'\n", "[hooks]\npre-commit = ['off']\n",
    ],
)  # fmt: skip
def test_wrong_value_is_an_error_that_names_file_and_key(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^devml\.toml: ") as caught:
        own(tmp_path, text)
    key = text.removeprefix("[hooks]\n").split(" ")[0]
    assert key in caught.value.message


@pytest.mark.parametrize("text", ["track = [", "a = 1\na = 2\n", "=\n", "track = ['a'\n[hooks"])
def test_toml_that_cannot_be_read_is_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not valid TOML"):
        own(tmp_path, text)


def test_file_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "devml.toml").write_bytes(b"track = ['\xff']\n")
    with pytest.raises(UsageError, match="devml.toml cannot be read"):
        config.load(tmp_path)


def test_tool_table_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool]\ndevml-git = "yes"\n')
    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        config.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0), (4096, 4096), ("4096", 4096), ("10MB", 10**7), ("10mb", 10**7), ("10 MB", 10**7),
        ("1KB", 1000), ("1KiB", 1024), ("1.5 GiB", 3 << 29), ("2TB", 2 * 10**12), ("1TiB", 1 << 40),
        ("0.5kB", 500), (" 7 B ", 7),
    ],
)  # fmt: skip
def test_size_is_read(text: object, size: int) -> None:
    assert config.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", -1, True, None, 1.5, "1e3", "1 M B", "10MB5", "٣MB"]
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=".*"):
        config.parse_size(text)


# -- editing -------------------------------------------------------------------------------------

EDITED = """\
# ours
track = [
    "models/**",  # all models
    "data/",
]

[hooks]   # odd   spacing
restore = true
"""


def test_adding_a_rule_keeps_comments_and_formatting(tmp_path: Path) -> None:
    (tmp_path / "devml.toml").write_text(EDITED)
    assert config.change_track(tmp_path, add="*.pt") == "devml.toml"
    after = (tmp_path / "devml.toml").read_text()
    assert config.load(tmp_path).track == ("models/**", "data/", "*.pt")
    for line in EDITED.splitlines():
        assert line in after.splitlines()


def test_removing_a_rule_keeps_comments_and_formatting(tmp_path: Path) -> None:
    (tmp_path / "devml.toml").write_text(EDITED)
    config.change_track(tmp_path, remove="data/")
    after = (tmp_path / "devml.toml").read_text()
    assert config.load(tmp_path).track == ("models/**",)
    assert '"models/**",  # all models' in after
    assert "[hooks]   # odd   spacing" in after


def test_adding_a_rule_twice_or_removing_an_unknown_one_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "devml.toml").write_text(EDITED)
    before = (tmp_path / "devml.toml").stat().st_mtime_ns
    config.change_track(tmp_path, add="data/")
    config.change_track(tmp_path, remove="nothing")
    assert (tmp_path / "devml.toml").read_text() == EDITED
    assert (tmp_path / "devml.toml").stat().st_mtime_ns == before


def test_rule_is_written_to_pyproject_where_its_table_is(tmp_path: Path) -> None:
    text = '[project]\nname = "x"  # me\n\n[tool.devml-git]\nlarge-file = "5MB"\n\n[tool.ruff]\nline-length = 9\n'
    (tmp_path / "pyproject.toml").write_text(text)
    assert config.change_track(tmp_path, add="models/") == "pyproject.toml"
    after = (tmp_path / "pyproject.toml").read_text()
    assert config.load(tmp_path).track == ("models/",)
    assert config.load(tmp_path).large_file == 5_000_000
    for line in text.splitlines():
        assert line in after.splitlines()
    assert not (tmp_path / "devml.toml").exists()


@pytest.mark.parametrize("rule", ['say "hi"', "a\\b", "é/🙂", "#x", "'q'", "!data/x", "a\\ "])
def test_any_rule_survives_writing_and_reading(rule: str, tmp_path: Path) -> None:
    config.create(tmp_path)
    config.change_track(tmp_path, add=rule)
    assert config.load(tmp_path).track == (rule,)


def test_many_rules_stand_one_a_line(tmp_path: Path) -> None:
    config.create(tmp_path)
    for n in range(5):
        config.change_track(tmp_path, add=f"r{n}")
    assert '\n    "r4",\n' in (tmp_path / "devml.toml").read_text()
    assert config.load(tmp_path).track == tuple(f"r{n}" for n in range(5))


def test_create_writes_once_and_never_beside_a_table_in_pyproject(tmp_path: Path) -> None:
    assert config.create(tmp_path)
    assert config.load(tmp_path) == Config(file="devml.toml")
    assert not config.create(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text("[tool.devml-git]\n")
    assert not config.create(other)
    assert not (other / "devml.toml").exists()


def test_edit_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("track = []\n")
    (tmp_path / "devml.toml").symlink_to("elsewhere")
    with pytest.raises(Exception, match="symbolic link"):
        config.change_track(tmp_path, add="x")
    assert (tmp_path / "elsewhere").read_text() == "track = []\n"


@pytest.mark.parametrize("name", ["devml.toml", "pyproject.toml"])
def test_link_to_a_device_and_what_is_endless_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="leads out of the repository: not followed"):
        config.load(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("# devml-git\n" + "a." * 600_000 + "a=1")
    with pytest.raises(UsageError, match="larger than"):
        config.load(tmp_path)
    (tmp_path / name).write_text("# devml-git\n" + "a." * 50_000 + "a=1")
    with pytest.raises(UsageError, match="dotted parts"):
        config.load(tmp_path)


def test_globs_without_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "devml.toml").write_text(f"metrics = {['*.json'] * 201}")
    with pytest.raises(UsageError, match="more than 200"):
        config.load(tmp_path)


@pytest.mark.parametrize(
    "line", ['metrics = ["{}"]', '[tables]\n"{}" = ["id"]', '[better]\n"{}" = "higher"']
)
def test_entry_that_is_too_long_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "devml.toml").write_text(line.format("*a" * 250_000) + "\n")
    with pytest.raises(UsageError, match="has an entry of more than 1000 characters"):
        config.load(tmp_path)
