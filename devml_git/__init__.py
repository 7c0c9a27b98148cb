"""devml-git: ties each git commit to the exact data and models it was made with."""

__version__ = "0.1.0"
