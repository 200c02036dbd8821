"""The work of a call: floating-point operations and bytes, operator by operator.

torch's FlopCounterMode also attributes operations to modules, and its tracker fails on
`autograd.grad` towards the leaf inputs of a module, by which the update cuts its graphs. The
formulas are torch's (`torch.utils.flop_counter`), for matrix products, convolutions and attention.
A multiply-add counts as two operations. Elementwise operators, norms and optimisers count as none.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# Allocate without writing.
_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class Work(NamedTuple):
    """`flop` floating-point operations and `traffic` bytes read and written."""

    flop: int
    traffic: int

    @property
    def mmac(self) -> float:
        """Millions of multiply-adds."""
        return self.flop / 2e6


class WorkCounter(TorchDispatchMode):
    """Adds up the work of every operator that runs inside it, backward passes included.

    The traffic is that of eager execution: each operator reads its inputs and writes its outputs
    once. It is an upper bound, since caches and fused kernels save some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flop, self.traffic = 0, 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flop += formula(*args, **kwargs, out_val=result)
        if func.overloadpacket.__name__ not in _ALLOCATIONS and not _makes_a_view(func):
            # An operator in place returns its own input: read once and written once.
            self.traffic += _bytes((args, kwargs)) + _bytes(result)
        return result

    @property
    def work(self) -> Work:
        return Work(self.flop, self.traffic)


def count_work(function: Callable[[], object]) -> Work:
    """The work of one call of the function."""
    with WorkCounter() as counter:
        function()
    return counter.work


def _makes_a_view(func: Any) -> bool:
    aliases = [value.alias_info for value in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _bytes(values: object) -> int:
    tensors = {id(leaf): leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}
    # An expanded tensor has more elements than memory.
    return sum(
        min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in tensors.values()
    )
