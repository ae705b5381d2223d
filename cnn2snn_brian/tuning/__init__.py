"""
Threshold setting by feedback: simulate, look at the output, change the thresholds.

A CNN says nothing of thresholds, and whether its SNN classifies as well depends on
them. `tune_thresholds` runs a compiled simulator again and again to find them.
"""

from cnn2snn_brian.tuning.result import Check, TuningResult
from cnn2snn_brian.tuning.tune import MethodName, tune_thresholds

__all__ = ["Check", "MethodName", "TuningResult", "tune_thresholds"]
