"""A device that computes on the CPU but is not it: it shows which code is bound to the CPU, where there is no GPU.

    with elsewhere():                        # tensors can lie there within
        network.to(ELSEWHERE)(frame.to(ELSEWHERE))

Its tensors hold those of the CPU. Operations on them are refused when a tensor of the CPU takes part, as on a GPU, and
otherwise give the very numbers of the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from betwixt.training.objectives.base import Batch, Objective

__all__ = ["ELSEWHERE", "check_learns_the_same", "elsewhere"]


class _Module(backend_registration._DummyBackendModule):
    """What PyTorch asks of a device's module beyond the least."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


# The first backward pass of a process starts a thread for each device that it knows, and it would not end with the
# process: so that pass comes before the device does.
torch.zeros((), requires_grad=True).backward()
backend_registration._setup_privateuseone_for_python_backend("elsewhere", backend_module=_Module())

ELSEWHERE = torch.device("elsewhere", 0)

_OF_BOTH = torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor
"""What takes tensors of two devices: GPUs, too, are told places by tensors of the CPU."""


class _Away(Tensor):
    """A tensor on that device.

    Attributes:
        held: The tensor of the CPU that has its numbers.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> _Away:
        shape = held.size(), held.stride(), held.storage_offset()
        made: _Away = Tensor._make_wrapper_subclass(
            cls, *shape, dtype=held.dtype, layout=held.layout, device=ELSEWHERE, requires_grad=held.requires_grad
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self, **_: Any) -> str:
        return f"elsewhere: {self.held!r}"


class _Factories(TorchDispatchMode):
    """Makes tensors there, which none of its tensors asks for."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})


def _compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    away = any(isinstance(x, _Away) for x in tensors)
    if away and function not in _OF_BOTH and any(x.ndim and not isinstance(x, _Away) for x in tensors):
        raise RuntimeError(f"{function} was given tensors of two devices.")
    to = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    held_args, held_kwargs = tree_map(lambda x: x.held if isinstance(x, _Away) else x, (args, kwargs))
    stays = away if to is None else to.type == ELSEWHERE.type
    results = function(*held_args, **held_kwargs | ({"device": "cpu"} if to is not None and stays else {}))
    if function._schema.is_mutable:
        assert function._schema.name.endswith("_"), f"{function} writes to another than its first argument"
        return args[0]
    return tree_map(lambda x: _Away(x) if isinstance(x, Tensor) else x, results) if stays else results


# How PyTorch itself, beneath all of this, brings numbers there.
@torch.library.impl("aten::empty_strided", "privateuseone")
def _empty_strided(*args: Any, **kwargs: Any) -> Tensor:
    return _Away(torch.empty_strided(*args, **kwargs | {"device": "cpu"}))


@torch.library.impl("aten::_copy_from", "privateuseone")
def _copy_from(numbers: Tensor, to: _Away, non_blocking: bool = False) -> Tensor:
    to.held.copy_(numbers)
    return to


@contextmanager
def elsewhere() -> Iterator[None]:
    """Tensors can be made and moved there, and backward passes run in this thread."""
    with _Factories(), torch.autograd.set_multithreading_enabled(False):
        yield


def check_learns_the_same(objective: Objective, batch: Batch) -> None:
    """Assert that the loss and all gradients are the same there, where the objective then lies."""

    def found(given: Batch) -> list[Tensor]:
        torch.manual_seed(2)
        total = objective.loss(given, 0.5).total
        learning = [p for p in objective.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(total, learning, allow_unused=True)
        assert any(x is not None for x in gradients)
        return [total, *(torch.zeros(()) if x is None else x for x in gradients)]

    expected = found(batch)
    with elsewhere():
        objective.to(ELSEWHERE)
        results = [x.cpu() for x in found(batch.apply(lambda x: x.to(ELSEWHERE)))]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(results, expected, strict=True))
