"""The public trainers of latent diffusion's autoencoder, restated over any three networks.

`sources.py` says where each statement about them was read, `step.py` is their training step. No
line of theirs is copied.
"""
