"""Processes that read images: deaf to a signal to the group, and ended by their parent."""

import multiprocessing
import subprocess
import time

from vaegan.signals import end_with_the_parent, not_for_children


def rest() -> None:
    end_with_the_parent()
    time.sleep(100)


def test_a_child_outlives_the_groups_sigterm_and_ends_with_its_parents() -> None:
    with not_for_children():
        child = multiprocessing.get_context("spawn").Process(target=rest, daemon=True)
        child.start()
    time.sleep(5)
    subprocess.run(["kill", "-TERM", str(child.pid)], check=True)  # not from the parent
    child.join(2)
    assert child.is_alive()
    child.terminate()
    child.join(20)
    assert child.exitcode == 0
