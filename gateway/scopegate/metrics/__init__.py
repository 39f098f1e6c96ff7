"""Metrics of the data plane: workers count in shared memory, the control plane adds up."""

from scopegate.metrics.area import MetricsArea
from scopegate.metrics.privileges import PrivilegeMetrics
from scopegate.metrics.store import StoreMetrics
from scopegate.metrics.worker import GaugeCell, WorkerMetrics

__all__ = ["GaugeCell", "MetricsArea", "PrivilegeMetrics", "StoreMetrics", "WorkerMetrics"]
