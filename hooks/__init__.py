"""The hook scripts that `devml-git hooks install` puts in place."""
