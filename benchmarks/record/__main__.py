"""`python -m benchmarks.record` from the repository's root."""

import sys

from benchmarks.record.command import main
from evaluation.trainings.command import end_trainings_too

end_trainings_too()
sys.exit(main())
