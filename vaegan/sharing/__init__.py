"""A trained model in the forms that others take: one file a form, listed in `formats.py`.

`folder.py` writes safetensors with a model card (`card.py`), `hub.py` pushes and pulls such a
folder, `onnx_files.py` writes ONNX. The card's numbers are those that the run recorded
(`training_record.py`).
"""
