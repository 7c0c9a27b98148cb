"""log and show."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devml_git import config as configuration
from devml_git import gate, selecting, telling
from devml_git.amounts import counted, human
from devml_git.choosing import Chosen, unknown_revision
from devml_git.cli import savepoints as between
from devml_git.cli.context import out, repo_paths, workspace
from devml_git.errors import MEND, UsageError
from devml_git.graphing import Graph
from devml_git.location import open_cache
from devml_git.plumbing import Git
from devml_git.selecting import Named, Where
from devml_git.showing import CORRUPT
from devml_git.showing import show as show_commit
from devml_git.walking import walk
from devml_git.wording import padded, width_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from devml_git.changing import Commit
    from devml_git.config import Config
    from devml_git.showing import Held, Shown

_BEST = 10  # commits of --best without -n
_NOTES = 5


def register(app: typer.Typer) -> None:
    """Add this family's commands."""
    app.command()(log)
    app.command()(show)


def log(
    args: Annotated[
        list[str] | None, typer.Argument(metavar="[REV|RANGE]... [--] [PATH]...")
    ] = None,
    *,
    number: Annotated[
        int | None, typer.Option("-n", "--max-count", metavar="N", min=0, help="N commits at most.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", "--after", metavar="DATE", help="As git log.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", "--before", metavar="DATE", help="As git log.")
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", metavar="PATTERN", help="As git log.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="PATTERN", help="As git log: in the message.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="From every ref.")] = False,
    first_parent: Annotated[
        bool, typer.Option("--first-parent", help="Of a merge, the first parent only.")
    ] = False,
    merges: Annotated[
        bool | None, typer.Option("--merges/--no-merges", help="Merges only, or none.")
    ] = None,
    skip: Annotated[
        int, typer.Option("--skip", metavar="N", min=0, help="Without the first N commits.")
    ] = 0,
    oneline: Annotated[
        bool, typer.Option("--oneline", help="One line a commit, metrics that changed in it.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="As in git log; here it is always so.", hidden=True)
    ] = False,
    graph: Annotated[bool, typer.Option("--graph", help="Draw how commits hang together.")] = False,
    reverse: Annotated[bool, typer.Option("--reverse", help="Oldest first.")] = False,
    where: Annotated[
        str | None, typer.Option("--where", metavar="EXPR", help="accuracy > 0.9 and lr < 1e-3")
    ] = None,
    best: Annotated[
        str | None,
        typer.Option("--best", metavar="METRIC", help="The best first; -n 10 by itself."),
    ] = None,
    maximum: Annotated[
        bool | None, typer.Option("--max/--min", help="--best: more, or less, is better.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B,...", help="A table of these.")
    ] = None,
    snapshots: Annotated[
        bool, typer.Option("--snapshots", help="The snapshots between commits instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show history in terms of artifacts, sizes, metrics and parameters, newest first.

    PATH is an artifact (followed to where it lay before), a file in one, a directory or a glob:
    commits that changed it, and of these only what lies there; metrics and parameters are told
    where PATH names their file. A METRIC is a key, its last part, or FILE:KEY; which way is better
    stands in devml.toml, `[better]`.

    Example: devml-git log --best accuracy --columns accuracy,lr
    """
    del follow
    if snapshots:
        if args or since or until or author or grep or where or best or columns or graph or skip:
            raise UsageError("--snapshots lists all of them: only -n and --json go with it")
        between.show_snapshots(number, as_json=as_json)
        return
    git = Git.discover()
    config = configuration.load(git.top)
    revs, paths = _revs_and_paths(git, args or [])
    sifted = until or author or grep or merges is not None or where or paths
    if oneline and (columns or as_json):
        raise UsageError("--oneline is for people, and no table: not with --columns, --json")
    if graph and (sifted or reverse or best or columns or skip or as_json):
        raise UsageError(
            "--graph draws every commit: only REV, -n, --since, --all, --first-parent go with it"
        )
    chosen = Chosen(
        tuple(revs), everything, first_parent, since, until, author, grep, merges, tuple(paths),
        topo=graph,
    )  # fmt: skip
    expression = None if where is None else Where(where)
    name = None if best is None else Named(best)
    table = [Named(c.strip()) for c in columns.split(",") if c.strip()] if columns else None
    if name is not None and table is None and not oneline:
        table = [name]
    with contextlib.closing(walk(git, config, chosen, cache=lambda: open_cache(git))) as walking:
        found: Iterator[Commit] = walking if expression is None else expression.among(walking)
        if name is not None:
            most = _BEST if number is None else number
            ranked = selecting.best(found, name, higher=maximum, config=config, number=skip + most)
            found = iter(ranked)
        found = itertools.islice(found, skip, None if number is None else skip + number)
        if reverse:
            found = reversed(list(found))
        # what fails at once has printed nothing, and started no pager
        found = itertools.chain(list(itertools.islice(found, 1)), found)
        if as_json:
            out().stream("devml.log/v1", "commits", (c.to_dict(git.prefix) for c in found))
        else:
            with out().paged(git.pager), contextlib.closing(Graph(git, chosen)) as drawing:
                unread = _print(found, config, table, drawing if graph else None, oneline=oneline)
            for note, times in unread.most_common(_NOTES):
                out().remark(f"warning: not read at {counted(times, 'commit')}: {note}")
    _tell_unseen([*(expression.names if expression else ()), *([name] if name else ())])


def _print(
    found: Iterable[Commit],
    config: Config,
    table: list[Named] | None,
    graph: Graph | None,
    *,
    oneline: bool,
) -> Counter[str]:
    """Print commits; return what could not be read of metrics, and at how many commits."""
    o = out()
    unread: Counter[str] = Counter()
    if table is not None:
        o.line([(telling.table_head([n.text for n in table]), "bold")])
    for commit in found:
        if table is not None:
            o.line(telling.table_row(commit, [n.value(commit.measures) for n in table],
                                     [n.text for n in table]))  # fmt: skip
        else:
            head = telling.one_line(commit, config) if oneline else telling.commit_line(commit)
            details = [] if oneline else telling.detail_lines(commit, config)
            for line in _drawn(graph, commit, head, details):
                o.line(line)
        unread.update(commit.told().measures.notes if table is None else commit.measures.notes)
        if o.deaf:  # the pager was left, or `| head` has enough
            break
    return unread


def _drawn(
    graph: Graph | None, commit: Commit, head: telling.Line, details: list[telling.Line]
) -> Iterator[telling.Line]:
    if graph is None:
        yield head
        yield from ([("    ", ""), *line] for line in details)
        return
    for drawn, text in graph.around(commit.entry.commit, [head, *details]):
        yield [(drawn, "blue"), *(text or [])]


def _tell_unseen(names: Iterable[Named]) -> None:
    unseen = list(dict.fromkeys(n.text for n in names if not n.seen))
    if unseen:
        text = ", ".join(map(gate.shown, unseen))
        out().remark(f"warning: no commit there has a metric or parameter {text}")


def _revs_and_paths(git: Git, args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell revisions from paths as git log does. Raises UsageError for what could be either."""
    if "--" in args:
        cut = args.index("--")
        return list(args[:cut]), repo_paths(git.top, args[cut + 1 :])
    for n, arg in enumerate(args):
        is_path = os.path.lexists(arg) or os.path.lexists(f"{arg}.dvc")
        if git.names_commits(arg):
            if is_path:
                word = gate.quoted(arg)
                raise UsageError(f"{gate.shown(arg)} is both a revision and a path",
                                 hint=f"{word} --   or   -- {word}")  # fmt: skip
        elif is_path:
            return list(args[:n]), repo_paths(git.top, args[n:])
        else:
            raise unknown_revision(git, arg)
    return list(args), []


# -- show ----------------------------------------------------------------------------------------


def show(
    args: Annotated[
        list[str] | None, typer.Argument(metavar="[REV] [--] [PATH]...", help="HEAD without REV.")
    ] = None,
    no_fetch: Annotated[
        bool, typer.Option("--no-fetch", help="Ask no DVC remote for what the cache lacks.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show the whole snapshot of REV: artifacts and where their content is, metrics, parameters.

    REV is a commit or a snapshot between commits; with PATH (an artifact, a directory, a glob, a
    file of metrics) only what lies there. Nothing is fetched; DVC remotes are only asked.

    Example: devml-git show v1.2 -- models/
    """
    with workspace(writes=False) as ws:
        revs, paths = _one_rev_and_paths(ws.git, args or [])
        found = show_commit(ws, revs, paths, fetch=not no_fetch)
        config = ws.config
        pager = ws.git.pager
    if as_json:
        out().document(found.to_dict())
        return
    with out().paged(pager):
        for line in _show_lines(found, config):
            out().line(line)


def _one_rev_and_paths(git: Git, args: Sequence[str]) -> tuple[str, list[str]]:
    if args and "--" not in args and git.commit_of(args[0]) is None and len(args) == 1:
        with contextlib.suppress(UsageError):  # perhaps a snapshot by its name
            revs, paths = _revs_and_paths(git, args)
            return (revs or ["HEAD"])[0], paths
        return args[0], []
    revs, paths = _revs_and_paths(git, args)
    if len(revs) > 1:
        raise UsageError(f"{gate.shown(revs[1])} is one REV too many", hint="devml-git log A..B")
    rev = revs[0] if revs else "HEAD"
    if not revs and git.head() is None:
        raise unknown_revision(git, "HEAD")
    return rev, paths


def _show_lines(found: Shown, config: Config) -> Iterator[telling.Line]:
    e = found.commit.entry
    yield [("commit ", "yellow"), (e.commit, "yellow"), (f"  ({e.refs})" if e.refs else "", "cyan")]
    yield [(f"{e.author} <{e.email}>  {e.date}", "")]
    yield [(e.subject, "bold")]
    if found.point is not None:
        yield [(f"a snapshot between commits, taken on {found.point.branch or 'no branch'}", "")]
    yield from _section("artifacts", [*_held_lines(found.artifacts), *_broken(found.broken)])
    if any(held.content == CORRUPT for held in found.artifacts):
        yield [("    corrupt: ", "red"), (f"{MEND}   if a DVC remote has it", "")]
    for kind, files in (("metrics", found.commit.measures.metrics),
                        ("parameters", found.commit.measures.params)):  # fmt: skip
        yield from _section(kind, telling.whole_lines(files))
    if found.point is not None and found.point.metrics:
        yield from _section("metrics of the snapshot",
                            telling.whole_lines({"": found.point.metrics}))  # fmt: skip
    yield from _section("changed by it", telling.detail_lines(found.commit, config, most=1000))
    yield from _section("not read", [[(note, "")] for note in found.commit.measures.notes])


def _section(title: str, lines: Sequence[telling.Line]) -> Iterator[telling.Line]:
    if lines:
        yield []
        yield [(title, "bold")]
        yield from ([("    ", ""), *line] for line in lines)


def _held_lines(artifacts: Sequence[Held]) -> list[telling.Line]:
    rows = []
    for held in artifacts:
        p = held.pointer
        size = "" if p.size is None else human(p.size)
        files = "" if p.nfiles is None else counted(p.nfiles, "file")
        rows.append((p.path, size, files, held.content or p.why_left_alone or "never stored"))
    widths = [max((width_of(gate.shown(r[i], 4096)) for r in rows), default=0) for i in range(3)]
    styles: dict[Any, str] = {"here": "green", "remote": "cyan", "nowhere": "red", "corrupt": "red"}
    return [
        [
            *((f"{padded(gate.shown(row[i], 4096), widths[i])}  ", "") for i in range(3)),
            (row[3], styles.get(row[3], "yellow")),
        ]
        for row in rows
    ]


def _broken(broken: Sequence[str]) -> list[telling.Line]:
    return [[("cannot be followed  ", "red"), (text, "")] for text in broken]
