"""A fuzzer of git use: random walks through git and devml-git, judged after every step.

`ground.py` is where a walk takes place, `choose.py` makes up steps, `steps.py` does them,
`judge.py` says what must hold, `walk.py` puts them together, replays and shrinks.

    python -m tests.fuzz 100 200          # walks of seeds 100 to 199; failures are shrunk, kept
    python -m tests.fuzz found/x.json     # replay
"""
