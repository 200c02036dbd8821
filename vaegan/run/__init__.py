"""Steps over time: the loop, what it leaves behind, and how it stops and goes on.

the loop            trainer.py, evaluating.py (evaluation_cost.py), profiling.py
what it says        measures.py, metrics_file.py, pictures.py, tracking.py
where it lives      run_folder.py, background.py
stopping            interruption.py, failures.py
going on            save_schedule.py, rank_state.py, resuming.py
"""
