"""The faults of the public trainers of latent diffusion's autoencoder, each beside our update.

`python -m benchmarks.defects` reproduces every fault in minimal form, on networks of a few thousand
weights, makes the same check of this package, and prints one table.
"""
