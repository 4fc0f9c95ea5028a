"""A run as other programs' files: W&B sweeps, TensorBoard, MLflow. Optuna's is in search/sampling."""

from __future__ import annotations

from search.export.targets import ExportError

__all__ = ["ExportError"]
