"""Processes that read images: deaf to a signal to the group, and ended by their parent."""

import multiprocessing
import subprocess
import time
from multiprocessing.synchronize import Event

from vaegan.signals import end_with_the_parent, not_for_children


def rest(ready: Event) -> None:
    end_with_the_parent()
    ready.set()
    time.sleep(100)


def test_a_child_outlives_the_groups_sigterm_and_ends_with_its_parents() -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    with not_for_children():
        child = context.Process(target=rest, args=(ready,), daemon=True)
        child.start()
    # A second SIGTERM is lost while the first one waits for the child to begin.
    assert ready.wait(60)
    subprocess.run(["kill", "-TERM", str(child.pid)], check=True)  # not from the parent
    child.join(2)
    assert child.is_alive()
    child.terminate()
    child.join(20)
    assert child.exitcode == 0
