"""What each network's gradient is: the arithmetic of one update, for every model.

`update.py` is the frame that all models share (micro-batches, noise, what has to be known of the
whole batch), `algorithm.py` Algorithm 1 of Larsen et al. 2016 in it, and `baselines.py` the models
it is compared with. `adversarial.py` is the GAN's part of both, `balance.py` the weight gamma,
`views.py` how a frozen discriminator looks.
"""
