"""`python -m devml_git`."""

import sys

from devml_git.cli import main

sys.exit(main())
