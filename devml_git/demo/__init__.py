"""The demo: a real repository with a real data set and a few trained versions (`devml-git demo`).

`project/` holds the files a user of devml-git would have written; `story` plays with them.
"""
