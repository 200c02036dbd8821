"""What compare.py and tune.py write: evaluated checkpoints as tables, pictures and pages."""
