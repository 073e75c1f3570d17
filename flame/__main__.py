"""`python -m flame` is the command `flame`."""

import sys

from flame.cli import main

sys.exit(main())
