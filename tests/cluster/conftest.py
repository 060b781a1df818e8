"""One Ray cluster for all tests: two small nodes on this machine."""

import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

# Workers that die are part of these tests, so the memory of this machine does not count.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_kill_worker_timeout_milliseconds": "500",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}

STORE = 80 << 20
"""Bytes of a node's object store."""


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A cluster of two nodes, to which this process is connected."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"num_cpus": 1, "object_store_memory": STORE}
        cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
        cluster.add_node(**options)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="CRITICAL")
        yield cluster
        ray.shutdown()
        cluster.shutdown()
