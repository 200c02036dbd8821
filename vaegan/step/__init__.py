"""One training step: the update, the exchange between processes, the optimiser and the averages.

`learner.py` takes the step. `compiled.py` and `graphs.py` compute the same step faster.
`exchange.py` averages over processes. `optim.py`, `soundness.py` and `ema.py` follow the
gradients: the optimiser steps only where they are finite, then the weights are averaged.
"""
