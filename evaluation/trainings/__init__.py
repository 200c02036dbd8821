"""The trainings of compare.py and tune.py: planned, checked, and started as processes."""
