"""Hostile repositories, and a judge that watches what devml-git does in them.

| module | what |
|---|---|
| `templates/` | the hostile repositories, one function each: a newcomer adds one there |
| `builder.py` | the words in which templates are written |
| `world.py` | what lies around a repository: HOME, keys, neighbours, remotes; all of it watched |
| `arrivals.py` | how a repository comes to its victim: clone, pull, merge --squash, ... |
| `course.py` | the commands that the victim then types |
| `trace.py` | one command under strace in a network namespace of its own |
| `judge.py` | what it must not have done |
| `trial.py` | one case from end to end |

`python -m tests.hostile` says which cases break, and why.
"""
