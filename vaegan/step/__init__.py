"""One step carried out: an update on its processes, with its precision, optimisers and averages.

`learner.py` is the whole of it; `compiled.py` and `graphs.py` are faster ways to the same.
`optim.py`, `soundness.py` and `ema.py` are what follows the gradients: the optimisers' step, taken
only where the gradients are finite, and the averages of the weights.
"""
