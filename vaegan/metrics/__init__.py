"""How good generated and reconstructed images are: features, and distances between sets of them.

Three layers that are never mixed, each in files of its own:

    images -> features      extractors.py (inception.py, efficientnet.py), extraction.py, cache.py
    features -> numbers     frechet.py, distances.py
    images -> numbers       image_quality.py

`latents.py` draws what is decoded, and `evaluation.py` puts a whole evaluation of one model
together. What they need beside torch (torch-fidelity, torchmetrics, scikit-learn) comes with
`pip install -e '.[evaluation]'` and is imported when it is used.
"""
