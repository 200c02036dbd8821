"""Quality of generated and reconstructed images: features, and distances between sets of them.

Three separate layers, each in files of its own:

    images -> features      extractors.py (inception.py, efficientnet.py), extraction.py, cache.py
    features -> numbers     frechet.py, distances.py, kernel.py; algebra.py chooses the device
    images -> numbers       image_quality.py

`protocol.py` defines what is compared, `latents.py` draws latents, `evaluation.py` measures one
model, `record.py` collects the results, and `report.py` shows and writes them.

The packages beside torch (torch-fidelity, torchmetrics, scikit-learn) come with
`pip install -e '.[evaluation]'` and are imported when they are used.
"""
