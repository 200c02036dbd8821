"""`python -m benchmarks.defects` from the repository's root."""

import sys

from benchmarks.defects.command import main

sys.exit(main())
