"""Steps over time: the parts of a run, the loop over its steps, stopping and resuming.

setting up          train.py: global_batch.py, length.py, training_data.py, summary.py
the loop            trainer.py, evaluating.py (evaluation_cost.py), profiling.py
numbers             measures.py, recording.py, metrics_file.py
dashboards          tracking.py: wandb_tracker.py (wandb_server.py), tensorboard_tracker.py;
                    sections.py, outcome.py
warnings            collapse.py, skipped_steps.py
pictures            previews.py, pictures.py, curves.py
files               run_folder.py, saving.py (rank_state.py)
stopping            interruption.py, failures.py
resuming            resuming.py
"""
