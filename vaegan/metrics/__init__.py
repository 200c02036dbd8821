"""How good generated and reconstructed images are: features, and distances between sets of them.

Three layers that are never mixed, each in files of its own:

    images -> features      extractors.py (inception.py, efficientnet.py), extraction.py, cache.py
    features -> numbers     frechet.py, distances.py, kernel.py; algebra.py says on what device
    images -> numbers       image_quality.py

`protocol.py` says what is compared with what, `latents.py` draws what is decoded, `evaluation.py`
measures one model, and `record.py` and `report.py` keep and show what was found.

What they need beside torch (torch-fidelity, torchmetrics, scikit-learn) comes with
`pip install -e '.[evaluation]'` and is imported when it is used.
"""
