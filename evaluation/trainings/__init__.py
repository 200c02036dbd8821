"""What compare.py and tune.py train: planned, checked, and started as processes of their own."""
