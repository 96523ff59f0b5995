"""``python -m numbaconv``: the command line."""

from numbaconv.cli import main

raise SystemExit(main())
