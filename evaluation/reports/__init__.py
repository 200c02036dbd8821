"""The reports of compare.py and tune.py: evaluated checkpoints as tables, pictures and pages."""
