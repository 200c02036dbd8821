"""`python -m benchmarks.scaling` from the repository's root."""

import sys

from benchmarks.scaling.calculator import main

sys.exit(main())
