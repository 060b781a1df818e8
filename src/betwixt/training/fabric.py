"""Devices, processes and precision of a training run, by Lightning Fabric. Used by the training loop."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch

from betwixt.backends.backend import check_torch_device
from betwixt.backends.torch_devices import cpu_computes_in_bf16
from betwixt.errors import UsageError


def find_process_position() -> tuple[bool, bool]:
    """Whether this process is the first of the run, and the first on its machine, before Fabric is launched."""
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    rank = int(os.environ.get("RANK", local_rank + int(os.environ.get("NODE_RANK", 0))))
    return rank == 0, local_rank == 0


def make_fabric(device: str, devices: int, nodes: int, precision: str | None, default_precision: str) -> Any:
    """Make a Lightning Fabric.

    Args:
        device: "auto", "cpu" or "cuda".
        devices: Number of devices on this machine; 0: all GPUs, or one CPU.
        nodes: Number of machines. Under torchrun, `devices` and `nodes` are torchrun's.
        precision: "fp32" or "bf16-mixed"; None: `default_precision`, or fp32 on a CPU without bfloat16.
        default_precision: That of the recipe.
    """
    check_torch_device(device)
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError:
        raise UsageError("Training needs Lightning Fabric: pip install 'betwixt[train]'.") from None
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    available = torch.cuda.device_count() if cuda else 1
    devices = devices or available
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if devices < 1 or nodes < 1:
        raise UsageError(f"`devices` and `nodes` have to be 1 or more, not {devices} and {nodes}.")
    if cuda and devices > available:
        raise UsageError(f"`devices` is {devices}, but this machine has {available} CUDA device(s).")
    if precision is None:
        precision = default_precision if cuda or cpu_computes_in_bf16() else "fp32"
    if precision not in ("fp32", "bf16-mixed"):
        raise UsageError(f"There is no precision '{precision}': choose fp32 or bf16-mixed.")
    if cuda:
        torch.backends.cudnn.benchmark = True
    # Some losses do not use all parameters in every step. The other processes wait while the first one evaluates.
    ddp = DDPStrategy(find_unused_parameters=True, timeout=timedelta(hours=3))
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy=ddp if devices * nodes > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16-mixed" else "32-true",
    )
