"""The hostile repositories, by kind. A function with `@template` is all that a new one takes.

What stands in its decorator is how it is tried in `make test`: the steps of course.py that bite,
the arrival, and of a clone the visit. In `make test-long` it arrives in every way and the whole
course is run.
"""

from tests.hostile.templates import bombs, content, links, names, pointers, programs, settings

__all__ = ["bombs", "content", "links", "names", "pointers", "programs", "settings"]
