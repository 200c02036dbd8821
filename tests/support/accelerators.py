"""accelerate keeps one set of devices and one precision per process; tests need several."""

from accelerate.state import AcceleratorState, PartialState


def forget_accelerators() -> None:
    """Let the next Accelerator choose anew."""
    AcceleratorState._reset_state()
    PartialState._reset_state()
