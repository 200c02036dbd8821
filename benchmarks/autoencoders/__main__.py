"""`python -m benchmarks.autoencoders` from the repository's root."""

import sys

from benchmarks.autoencoders.command import main
from evaluation.trainings.command import end_trainings_too

end_trainings_too()
sys.exit(main())
