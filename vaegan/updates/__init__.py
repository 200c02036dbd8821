"""What each network's gradient is: the arithmetic of one update, for every model.

`base.py` is the frame that all models share (micro-batches, what has to be known of the whole
batch), `vaegan.py` Algorithm 1 of Larsen et al. 2016 in it, `vae.py` and `gan.py` the models it is
compared with. `adversarial.py` is the GAN's part of both, with the discriminator's
gradient penalties in `penalties.py`; `balance.py` is the weight gamma.
"""
