"""DVC remotes on servers of the tests' own, and what can go wrong on the way to them.

`remote.py`: a remote as a test sees it. `servers.py`: what serves them. `proxy.py`: faults on the
way. `disk.py`: faults below. `fixtures.py`: `storage`, `storages`.
"""
