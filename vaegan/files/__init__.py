"""Files that are written whole or not at all, read without trust, and found again after a crash.

`whole_files.py` writes; `regular_files.py` and `tensor_files.py` read. `checkpoint.py` has the
format of a checkpoint, and `checkpoint_store.py` the folder of checkpoints.
"""
