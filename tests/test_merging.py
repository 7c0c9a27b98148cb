"""The three-way merge of pointers, on bytes alone: what merges, what clashes, what it looks like."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devml_git import merging, pointers
from devml_git.errors import ContentLost, Refused
from devml_git.manifest import manifest_bytes, manifest_oid
from devml_git.merging import Clash, merge, merge_executable, merge_members
from devml_git.nouns import Content

if TYPE_CHECKING:
    from collections.abc import Mapping


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


class Memory:
    """A cache in memory: content by its text, a manifest by its members."""

    def __init__(self) -> None:
        self.manifests: dict[str, dict[str, str]] = {}
        self.sizes: dict[str, int] = {}
        self.vouched: str | None = None
        self.asked: list[str | None] = []

    def manifest(self, oid: str, remote: str | None) -> Mapping[str, str]:
        self.asked.append(remote)
        if oid not in self.manifests:
            raise ContentLost("its list of files is not in the cache")
        return self.manifests[oid]

    def size_of(self, oid: str) -> int | None:
        return self.sizes.get(oid)

    def keep(self, members: Mapping[str, str]) -> str:
        oid = manifest_oid(members)
        self.manifests[oid] = dict(members)
        return oid

    def vouch(self, members: Mapping[str, str]) -> str | None:
        return self.vouched

    def directory(
        self, files: Mapping[str, str] | None, name: str = "data", executable: tuple[str, ...] = ()
    ) -> bytes:
        """Return the pointer of a directory with these files (name to text); None: no pointer."""
        if files is None:
            return b""
        members = {n: md5(text) for n, text in files.items()}
        self.sizes.update({md5(text): len(text) for text in files.values()})
        size = sum(map(len, files.values()))
        bits = frozenset(executable)
        return pointers.new(name, Content(self.keep(members), size, len(files), bits))


def file_pointer(text: str, name: str = "m.pt") -> bytes:
    return pointers.new(name, Content(md5(text), len(text)))


FOO, FOO_BAR = {"foo": "foo"}, {"foo": "foo", "bar": "bar"}

# The cases of DVC's own tests (treeverse/dvc, tests/func/test_merge_driver.py): base, ours, theirs
DVC_MERGES = [
    (FOO, FOO_BAR, {"foo": "foo", "baz": "baz"}, {"foo": "foo", "bar": "bar", "baz": "baz"}),
    (
        {"common": "common", "sub/foo": "foo"},
        {"common": "common", "sub/foo": "foo", "sub/bar": "bar"},
        {"common": "common", "sub/foo": "foo", "sub/baz": "baz"},
        {"common": "common", "sub/foo": "foo", "sub/bar": "bar", "sub/baz": "baz"},
    ),
    ({}, FOO, {"bar": "bar"}, FOO_BAR),
    ({}, {}, {"bar": "bar"}, {"bar": "bar"}),
    ({}, FOO, {}, FOO),
    (None, FOO, {"bar": "bar"}, FOO_BAR),
    (None, None, {"bar": "bar"}, {"bar": "bar"}),
    (None, FOO, None, FOO),
    (FOO, {"foo": "bar"}, {"foo": "foo", "baz": "baz"}, {"foo": "bar", "baz": "baz"}),
    (FOO, {}, FOO_BAR, {"bar": "bar"}),
    (
        {"common": "common", "sub/foo": "foo", "sub/bar": "bar"},
        {"common": "common", "sub/foo": "foo", "sub/bar": "baz"},
        {"common": "common", "sub/bar": "bar", "sub/bizz": "bizz"},
        {"common": "common", "sub/bar": "baz", "sub/bizz": "bizz"},
    ),
    # a conflict in DVC, for no reason but that its patches fail where both sides deleted a file
    (
        {"common": "c", "foo": "foo"},
        {"common": "c", "bar": "b"},
        {"baz": "z"},
        {"bar": "b", "baz": "z"},
    ),
]
DIR_LINE, FILE_LINE = f"- md5: {md5('d')}.dir\n", f"- md5: {md5('f')}\n"
DVC_CLASHES = {
    "options differ": (
        f"outs:\n{DIR_LINE}  hash: md5\n  path: path\n",
        f"outs:\n- md5: {md5('e')}.dir\n  hash: md5\n  path: path\n  cache: false\n",
    ),
    "a directory and a file": (
        f"outs:\n{DIR_LINE}  hash: md5\n  path: path\n",
        f"outs:\n{FILE_LINE}  hash: md5\n  path: path\n",
    ),
    "two outputs": (
        f"outs:\n{DIR_LINE}  hash: md5\n  path: path\n- md5: {md5('x')}.dir\n  hash: md5\n  path: another\n",
        f"outs:\n{FILE_LINE}  hash: md5\n  path: path\n",
    ),
    "one of them elsewhere": (
        f"outs:\n{DIR_LINE}  path: ssh://example.com/path\n",
        f"outs:\n- md5: {md5('e')}.dir\n  path: path\n",
    ),
}


@pytest.mark.parametrize(("base", "ours", "theirs", "merged"), DVC_MERGES)
def test_dvcs_own_cases_merge_to_the_pointer_dvc_would_write(
    base: dict[str, str] | None,
    ours: dict[str, str] | None,
    theirs: dict[str, str] | None,
    merged: dict[str, str],
) -> None:
    cache = Memory()
    sides = [cache.directory(side) for side in (base, ours, theirs)]
    assert merge("data.dvc", *sides, cache) == cache.directory(merged)


def test_dvcs_own_case_of_a_file_changed_by_both_clashes() -> None:
    cache = Memory()
    sides = [cache.directory({"foo": text}) for text in ("foo", "bar", "baz")]
    with pytest.raises(Clash, match="both sides changed data/foo"):
        merge("data.dvc", *sides, cache)


@pytest.mark.parametrize("case", DVC_CLASHES)
def test_dvcs_own_cases_that_are_not_to_be_merged(case: str) -> None:
    ours, theirs = DVC_CLASHES[case]
    with pytest.raises(Clash):
        merge("x.dvc", b"", ours.encode(), theirs.encode(), Memory())


# -- members -------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d/e", "d/f", "g"])
OIDS = st.sampled_from([md5(x) for x in "123"])
MANIFESTS = st.dictionaries(NAMES, OIDS, max_size=6)
BITS = st.frozensets(NAMES)


@settings(max_examples=400, print_blob=True, deadline=None)
@given(MANIFESTS, MANIFESTS, MANIFESTS)
def test_member_merge_equals_a_plain_model(
    base: dict[str, str], ours: dict[str, str], theirs: dict[str, str]
) -> None:
    merged, clashes = merge_members(base, ours, theirs)
    for name in {*base, *ours, *theirs}:
        b, o, t = (side.get(name) for side in (base, ours, theirs))
        outcomes = {o, t} - {b} if o != t else {o}
        assert (name in clashes) == (len(outcomes) > 1)
        if len(outcomes) == 1:
            assert merged.get(name) == outcomes.pop()
    assert merge_members(base, theirs, ours) == (merged, clashes)


@settings(max_examples=200, print_blob=True, deadline=None)
@given(MANIFESTS, MANIFESTS, MANIFESTS, st.sets(OIDS))
def test_merged_size_is_exact_or_absent(
    base: dict[str, str], ours: dict[str, str], theirs: dict[str, str], gone: set[str]
) -> None:
    """Whatever objects are not here: a size, if there is one, is the sum of the members'."""
    cache = Memory()
    sizes = {md5(x): 10**i for i, x in enumerate("123")}
    cache.sizes = {oid: n for oid, n in sizes.items() if oid not in gone}
    sides = []
    for side in (base, ours, theirs):
        content = Content(cache.keep(side), sum(sizes[o] for o in side.values()), len(side))
        sides.append(pointers.new("data", content))
    members, clashes = merge_members(base, ours, theirs)
    if clashes:
        return
    (pointer,) = pointers.read("data.dvc", merge("data.dvc", *sides, cache))
    assert pointer.oid == manifest_oid(members)
    assert pointer.nfiles == len(members)
    exact = sum(sizes[o] for o in members.values())
    assert pointer.size == exact if not gone else pointer.size in {exact, None}


@given(BITS, BITS, BITS)
def test_exec_bits_merge_as_a_plain_model(
    base: frozenset[str], ours: frozenset[str], theirs: frozenset[str]
) -> None:
    merged = merge_executable(base, ours, theirs)
    for name in base | ours | theirs:
        b, o, t = (name in side for side in (base, ours, theirs))
        assert (name in merged) == (t if o == b else o)
    assert merge_executable(base, None, theirs) == theirs


def test_colleagues_members_that_are_not_here_yet_count_in_the_size() -> None:
    cache = Memory()
    sides = [cache.directory(s) for s in (FOO, FOO_BAR, {"foo": "foo", "far": "far away"})]
    del cache.sizes[md5("far away")], cache.sizes[md5("foo")]
    assert b"size: 14\n" in merge("data.dvc", *sides, cache)


def test_size_that_cannot_be_known_is_left_out() -> None:
    cache = Memory()
    sides = [cache.directory(s) for s in (FOO, FOO_BAR, {"foo": "foo", "far": "far away"})]
    sides[2] = sides[2].replace(b"  size: 11\n", b"")
    del cache.sizes[md5("far away")]
    merged = merge("data.dvc", *sides, cache)
    assert b"size" not in merged
    assert pointers.read("data.dvc", merged)[0].nfiles == 3


def test_exec_bits_of_both_sides_are_kept() -> None:
    cache = Memory()
    base = cache.directory({"a": "a", "run": "run"}, executable=("run",))
    ours = cache.directory({"a": "a", "run": "run", "b": "b"}, executable=("run", "b"))
    theirs = cache.directory({"a": "a", "c": "c"}, executable=("a",))
    merged = merge("data.dvc", base, ours, theirs, cache)
    assert merged == cache.directory({"a": "a", "b": "b", "c": "c"}, executable=("a", "b"))


def test_note_on_exec_bits_that_a_plain_dvc_add_left_behind_says_nothing() -> None:
    cache = Memory()
    base = cache.directory({"a": "a", "run": "run"}, executable=("run",))
    new = cache.directory({"a": "2", "run": "run"})
    old_oid = pointers.read("data.dvc", base)[0].oid or ""
    new_oid = pointers.read("data.dvc", new)[0].oid or ""
    ours = base.replace(old_oid.encode(), new_oid.encode(), 1).replace(b"size: 4", b"size: 4")
    theirs = cache.directory({"a": "a", "run": "run", "c": "c"}, executable=("run",))
    (merged,) = pointers.read("data.dvc", merge("data.dvc", base, ours, theirs, cache))
    assert merged.executable == {"run"}


def test_file_that_becomes_a_directory_on_the_other_side_clashes() -> None:
    cache = Memory()
    sides = [cache.directory(s) for s in ({}, {"a": "1"}, {"a/b": "2"})]
    with pytest.raises(Clash, match="file and a directory"):
        merge("data.dvc", *sides, cache)


def test_manifest_that_is_nowhere_clashes_and_says_so() -> None:
    cache = Memory()
    sides = [cache.directory(s) for s in (FOO, FOO_BAR, {"foo": "x"})]
    cache.manifests.clear()
    with pytest.raises(Clash, match="its list of files is not in the cache"):
        merge("data.dvc", *sides, cache)


def test_manifests_are_asked_of_the_remote_that_the_output_names() -> None:
    cache = Memory()
    sides = [cache.directory(s) + b"  remote: far\n" for s in (FOO, FOO_BAR, {"baz": "baz"})]
    merge("data.dvc", *sides, cache)
    assert cache.asked == ["far"] * 3


# -- keys, outputs, text -------------------------------------------------------------------------


def test_files_changed_on_both_sides_clash() -> None:
    with pytest.raises(Clash, match=r"both sides changed m\.pt"):
        merge("m.pt.dvc", *(file_pointer(x) for x in "123"), Memory())


@pytest.mark.parametrize("swap", [False, True])
def test_description_on_one_side_and_content_on_the_other(swap: bool) -> None:
    base, changed = file_pointer("1"), file_pointer("22")
    described = base + b"  desc: the best so far\n  meta:\n    who: me\n"
    sides = (changed, described) if swap else (described, changed)
    merged = merge("m.pt.dvc", base, *sides, Memory())
    assert merged == changed + b"  desc: the best so far\n  meta:\n    who: me\n"


def test_two_descriptions_clash() -> None:
    base = file_pointer("1")
    with pytest.raises(Clash, match="'desc' of m.pt"):
        merge("m.pt.dvc", base, base + b"  desc: a\n", base + b"  desc: b\n", Memory())


def test_comments_and_order_of_ours_stay() -> None:
    base = f"outs:\n- path: m.pt # the model\n  md5: {md5('1')}\n  hash: md5\n"
    theirs = f"outs:\n- path: m.pt\n  md5: {md5('2')}\n  hash: md5\n  size: 1\nfrozen: true\n"
    merged = merge(
        "m.pt.dvc", base.encode(), b"# mine\n" + base.encode(), theirs.encode(), Memory()
    )
    assert merged.decode() == (
        f"# mine\nouts:\n- path: m.pt # the model\n  md5: {md5('2')}\n  hash: md5\n  size: 1\nfrozen: true\n"
    )


def test_python_would_call_one_and_true_the_same() -> None:
    base = file_pointer("1") + b"  meta:\n    x: 1\n"
    theirs = base.replace(b"x: 1", b"x: true")
    assert (
        merge("m.pt.dvc", base, base + b"  desc: d\n", theirs, Memory()) == theirs + b"  desc: d\n"
    )


def two_outs(one: str, two: str, more: str = "") -> bytes:
    rows = {"one": one, "two": two, **({"three": more} if more else {})}
    lines = "".join(
        f"- md5: {md5(v)}\n  size: 1\n  hash: md5\n  path: {k}\n" for k, v in rows.items() if v
    )
    return f"outs:\n{lines}".encode()


def test_outputs_are_matched_by_path() -> None:
    merged = merge(
        "x.dvc", two_outs("1", "1"), two_outs("2", "1"), two_outs("1", "", "3"), Memory()
    )
    assert merged == two_outs("2", "", "3")


@pytest.mark.parametrize("swap", [False, True])
def test_renamed_on_one_side_and_changed_on_the_other(swap: bool) -> None:
    """git finds the renamed pointer file, and merges it with the old one."""
    base, changed, renamed = file_pointer("1"), file_pointer("2"), file_pointer("1", "new.pt")
    sides = (changed, renamed) if swap else (renamed, changed)
    assert merge("new.pt.dvc", base, *sides, Memory()) == file_pointer("2", "new.pt")
    with pytest.raises(Clash, match="'path'"):
        merge("new.pt.dvc", base, renamed, file_pointer("1", "newer.pt"), Memory())


def test_clash_is_told_by_the_artifacts_whole_path() -> None:
    with pytest.raises(Clash, match=r"both sides changed models/m\.pt"):
        merge("models/m.pt.dvc", *(file_pointer(x) for x in "123"), Memory())


def test_output_removed_on_one_side_and_changed_on_the_other_clashes() -> None:
    with pytest.raises(Clash, match="one side removed two, the other changed it"):
        merge("x.dvc", two_outs("1", "1"), two_outs("1", ""), two_outs("1", "2"), Memory())


IMPORT = """\
md5: {stage}
frozen: true
deps:
- path: far
  repo:
    url: https://example.org/r
    rev_lock: {rev}
outs:
- md5: {out}
  size: 1
  hash: md5
  path: near
"""


def imported(version: str) -> bytes:
    return IMPORT.format(stage=md5("s" + version), rev=version * 40, out=md5(version)).encode()


def test_import_updated_on_one_side_is_taken_whole_and_on_both_clashes() -> None:
    base, new = imported("1"), imported("2")
    assert merge("near.dvc", base, base + b"desc: d\n", new, Memory()) == new + b"desc: d\n"
    with pytest.raises(Clash, match=r"both sides changed near\.dvc"):
        merge("near.dvc", base, imported("3"), new, Memory())


@pytest.mark.parametrize(
    "bad", [b"<<<<<<< ours\n", b"- a list\n", b"\xff", b"a: &x 1\n", b"some: thing\n",
            b"outs:\n- md5: ../../etc\n  path: x\n"]
)  # fmt: skip
@pytest.mark.parametrize("side", [0, 1, 2])
def test_what_is_no_pointer_is_refused(bad: bytes, side: int) -> None:
    sides = [file_pointer(x) for x in "123"]
    sides[side] = bad
    with pytest.raises(Refused):
        merge("m.pt.dvc", *sides, Memory())


def test_same_says_whether_texts_mean_the_same() -> None:
    assert merging.same("m.dvc", file_pointer("1"), b"# c\n" + file_pointer("1"))
    assert not merging.same("m.dvc", file_pointer("1"), file_pointer("2"))


def test_manifests_are_dvcs() -> None:
    assert manifest_bytes({"b": "1", "a": "2"}).startswith(b'[{"md5": "2", "relpath": "a"}')


# -- dvc.lock ------------------------------------------------------------------------------------


def entry(name: str, out: str, *, dep: str = "d", cmd: str = "run", oid: str = "") -> str:
    return (
        f"  {name}:\n    cmd: {cmd} {name}\n    deps:\n    - path: {name}.py\n      hash: md5\n"
        f"      md5: {md5(dep)}\n      size: 1\n    params:\n      params.yaml:\n        lr: 0.001\n"
        f"    outs:\n    - path: {name}.out\n      hash: md5\n      md5: {oid or md5(out)}\n      size: 1\n"
    )


def lock(*entries: str) -> bytes:
    return ("schema: '2.0'\nstages:\n" + "".join(entries)).encode()


def test_different_stages_lie_side_by_side_as_dvc_would_have_dumped_them() -> None:
    base = lock(entry("a", "1"), entry("b", "1"))
    ours = lock(entry("a", "2", dep="new"), entry("b", "1"), entry("mine", "1"))
    theirs = lock(entry("a", "1"), entry("b", "2", dep="new"), entry("your", "1"))
    assert merge("dvc.lock", base, ours, theirs, Memory()) == lock(
        entry("a", "2", dep="new"),
        entry("b", "2", dep="new"),
        entry("mine", "1"),
        entry("your", "1"),
    )


def test_stage_removed_on_one_side_goes() -> None:
    base = lock(entry("a", "1"), entry("b", "1"))
    merged = merge(
        "dvc.lock", base, lock(entry("a", "1")), lock(entry("a", "2"), entry("b", "1")), Memory()
    )
    assert merged == lock(entry("a", "2"))


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        (entry("a", "2", dep="x"), entry("a", "3", dep="y"), "with different inputs"),
        # other lines changed on each side: as text this would merge to a run that never was
        (entry("a", "1", dep="x"), entry("a", "1", cmd="faster"), "with different inputs"),
        (entry("a", "2"), entry("a", "3"), "with the same inputs"),
        ("", entry("a", "3"), "one side removed stage a"),
    ],
)
def test_stage_that_ran_on_both_sides_clashes(ours: str, theirs: str, why: str) -> None:
    base = lock(entry("a", "1"), entry("b", "1"))
    with pytest.raises(Clash, match=why) as told:
        merge(
            "dvc.lock", base, lock(ours, entry("b", "1")), lock(theirs, entry("b", "1")), Memory()
        )
    assert told.value.places == ("a",)


def test_directory_that_a_stage_made_on_both_sides_merges_by_member() -> None:
    cache = Memory()

    def with_parts(files: dict[str, str]) -> bytes:
        (pointer,) = pointers.read("data.dvc", cache.directory(files))
        text = entry("a", "", oid=pointer.oid or "").replace(
            "md5: " + (pointer.oid or "") + "\n      size: 1",
            f"md5: {pointer.oid}\n      size: {pointer.size}\n      nfiles: {pointer.nfiles}",
        )
        return lock(text)

    sides = [with_parts(files) for files in (FOO, FOO_BAR, {"foo": "foo", "baz": "baz"})]
    assert merge("sub/dvc.lock", *sides, cache) == with_parts({**FOO_BAR, "baz": "baz"})


@pytest.mark.parametrize(("favour", "out"), [(1, "2"), (2, "3")])
def test_favoured_side_settles_what_clashes_and_nothing_else(favour: int, out: str) -> None:
    base = lock(entry("a", "1"), entry("b", "1"), entry("c", "1"))
    ours = lock(entry("a", "2"), entry("b", "2"), entry("c", "1"))
    theirs = lock(entry("a", "3"), entry("b", "1"), entry("c", "3"))
    merged = merging.merge_lock("dvc.lock", base, ours, theirs, Memory(), favour=favour)
    assert merged == lock(entry("a", out), entry("b", "2"), entry("c", "3"))
    assert merging.stages_with("x/dvc.lock", [merged], "x/b.out", {}) == {"b"}


def test_hostile_output_of_a_stage_that_ran_on_both_sides_clashes() -> None:
    sides = [lock(entry("a", n).replace("a.out", "../../a.out")) for n in "123"]
    with pytest.raises(Clash, match="both sides changed"):
        merge("dvc.lock", *sides, Memory())


@pytest.mark.parametrize("bad", [b"a:\n  cmd: x\n", b"schema: '3.0'\n", b"<<<<<<< x\n"])
def test_lock_of_another_kind_is_refused(bad: bytes) -> None:
    with pytest.raises(Refused):
        merge("dvc.lock", bad, lock(entry("a", "1")), lock(entry("a", "2")), Memory())


# -- the second hash -----------------------------------------------------------------------------


def vouching(text: str, sha256: str | None) -> bytes:
    return pointers.new("m.pt", Content(md5(text), len(text), sha256=sha256))


ONE, TWO = "1" * 63 + "a", "2" * 63 + "b"


@pytest.mark.parametrize("base", [None, ("x", None), ("o", None), ("o", ONE)], ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_side_that_says_the_sha256_of_the_same_content_wins(
    turned: bool, base: tuple[str, str | None] | None
) -> None:
    sides = [vouching("o", ONE), vouching("o", None)]
    if turned:
        sides.reverse()
    before = vouching(*base) if base else b""
    assert merge("m.pt.dvc", before, sides[0], sides[1], Memory()) == vouching("o", ONE)


def test_sha256_that_one_side_adds_is_no_change_of_content() -> None:
    base, theirs = vouching("o", None), vouching("new", None)
    assert merge("m.pt.dvc", base, vouching("o", ONE), theirs, Memory()) == theirs
    theirs = vouching("new", TWO)
    assert merge("m.pt.dvc", base, vouching("o", ONE), theirs, Memory()) == theirs
    assert merge("m.pt.dvc", vouching("o", ONE), theirs, vouching("o", None), Memory()) == theirs


def test_contents_of_one_md5_clash() -> None:
    with pytest.raises(Clash, match=r"m\.pt, and the MD5 of their contents is the same"):
        merge("m.pt.dvc", b"", vouching("o", ONE), vouching("o", TWO), Memory())


def test_note_of_a_plain_dvc_add_is_foreign_in_a_merge() -> None:
    stale = vouching("o", ONE).replace(f"- md5: {md5('o')}".encode(), f"- md5: {md5('n')}".encode())
    assert merge("m.pt.dvc", vouching("o", ONE), stale, vouching("o", ONE), Memory()) == stale
    assert merge("m.pt.dvc", vouching("o", ONE), stale, vouching("n", TWO), Memory()) == vouching(
        "n", TWO
    )


@pytest.mark.parametrize("vouched", [None, ONE])
@pytest.mark.parametrize("used", [False, True], ids=["by nobody", "by one side"])
def test_merged_directory_vouches_where_its_members_are_known_and_somebody_does(
    used: bool, vouched: str | None
) -> None:
    memory = Memory()
    memory.vouched = vouched
    base, ours, theirs = (
        memory.directory({"a": "a", **more}) for more in ({}, {"o": "o"}, {"t": "t"})
    )
    if used:
        (pointer,) = pointers.read("data.dvc", ours)
        content = Content(pointer.oid or "", pointer.size or 0, pointer.nfiles, sha256=TWO)
        ours = pointers.new("data", content)
    (merged,) = pointers.read("data.dvc", merge("data.dvc", base, ours, theirs, memory))
    assert merged.nfiles == 3
    assert merged.sha256 == (vouched if used else None)
