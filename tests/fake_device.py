"""A fake device that computes on the CPU: it reveals code that is bound to the CPU, on machines without a GPU.

    with fake_device():                           # tensors can be on the device within this block
        network.to(FAKE_DEVICE)(frame.to(FAKE_DEVICE))

Each of its tensors wraps a CPU tensor. As on a GPU, operations that mix its tensors with CPU tensors are refused; all
others give exactly the CPU's results.
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


class _DeviceModule(backend_registration._DummyBackendModule):
    """The module of the device, with what PyTorch asks for beyond the minimum."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


# The first backward pass of a process starts a thread for each known device, and that of this device would not end with
# the process: so that pass is made before the device is registered.
torch.zeros((), requires_grad=True).backward()
backend_registration._setup_privateuseone_for_python_backend("fake", backend_module=_DeviceModule())

FAKE_DEVICE = torch.device("fake", 0)

_MIXED_OPERATIONS = torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor
"""Operations that take tensors of two devices: GPUs, too, accept indices on the CPU."""


class _FakeTensor(Tensor):
    """A tensor on the fake device.

    Attributes:
        cpu_tensor: The CPU tensor that holds its numbers.
    """

    cpu_tensor: Tensor

    @staticmethod
    def __new__(cls, cpu_tensor: Tensor) -> _FakeTensor:
        tensor: _FakeTensor = Tensor._make_wrapper_subclass(
            cls,
            *(cpu_tensor.size(), cpu_tensor.stride(), cpu_tensor.storage_offset()),
            dtype=cpu_tensor.dtype,
            layout=cpu_tensor.layout,
            device=FAKE_DEVICE,
            requires_grad=cpu_tensor.requires_grad,
        )
        tensor.cpu_tensor = cpu_tensor
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu_tensor.tolist()

    def __repr__(self, **_: Any) -> str:
        return f"fake: {self.cpu_tensor!r}"


class _Factories(TorchDispatchMode):
    """Handles operations without tensor arguments that create tensors on the device."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})


def _compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    any_fake = any(isinstance(x, _FakeTensor) for x in tensors)
    if (
        any_fake
        and function not in _MIXED_OPERATIONS
        and any(x.ndim and not isinstance(x, _FakeTensor) for x in tensors)
    ):
        raise RuntimeError(f"{function} was given tensors of two devices.")
    device = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    result_is_fake = any_fake if device is None else device.type == FAKE_DEVICE.type
    cpu_args, cpu_kwargs = tree_map(lambda x: x.cpu_tensor if isinstance(x, _FakeTensor) else x, (args, kwargs))
    if device is not None and result_is_fake:
        cpu_kwargs |= {"device": "cpu"}
    results = function(*cpu_args, **cpu_kwargs)
    if function._schema.is_mutable:
        assert function._schema.name.endswith("_"), f"{function} writes to another argument than its first"
        return args[0]
    if not result_is_fake:
        return results
    return tree_map(lambda x: _FakeTensor(x) if isinstance(x, Tensor) else x, results)


# PyTorch itself copies numbers to the device through these two operations.
@torch.library.impl("aten::empty_strided", "privateuseone")
def _empty_strided(*args: Any, **kwargs: Any) -> Tensor:
    return _FakeTensor(torch.empty_strided(*args, **kwargs | {"device": "cpu"}))


@torch.library.impl("aten::_copy_from", "privateuseone")
def _copy_from(source: Tensor, target: _FakeTensor, non_blocking: bool = False) -> Tensor:
    target.cpu_tensor.copy_(source)
    return target


@contextmanager
def fake_device() -> Iterator[None]:
    """Within this block tensors can be created on and moved to the device; backward passes run in this thread."""
    with _Factories(), torch.autograd.set_multithreading_enabled(False):
        yield


def check_same_gradients(objective: Objective, batch: Batch) -> None:
    """Assert that the loss and all gradients are the same on the fake device, to which the objective is moved."""

    def loss_and_gradients(inputs: Batch) -> list[Tensor]:
        torch.manual_seed(2)
        total = objective.loss(inputs, 0.5).total
        parameters = [p for p in objective.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        assert any(x is not None for x in gradients)
        return [total, *(torch.zeros(()) if x is None else x for x in gradients)]

    expected = loss_and_gradients(batch)
    with fake_device():
        objective.to(FAKE_DEVICE)
        results = [x.cpu() for x in loss_and_gradients(batch.apply(lambda x: x.to(FAKE_DEVICE)))]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(results, expected, strict=True))
