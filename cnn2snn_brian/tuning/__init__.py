"""
Threshold setting by feedback: simulate, look at the output, change the thresholds.

A CNN says nothing of thresholds, and whether its SNN classifies as well depends on
them. `tune_thresholds` runs a compiled simulator again and again to find them. A method
is a name or one of the classes here with its options. `calibrate` fits thresholds and
leaks, by channel, to what the CNN computes in each layer.
"""

from cnn2snn_brian.tuning.calibration import calibrate
from cnn2snn_brian.tuning.methods import (
    Bisection,
    Feedback,
    Method,
    MethodName,
    Percentiles,
    Search,
)
from cnn2snn_brian.tuning.objectives import OBJECTIVES, Target
from cnn2snn_brian.tuning.result import CalibrationResult, Check, TuningResult
from cnn2snn_brian.tuning.tune import tune_thresholds

__all__ = [
    "Bisection",
    "CalibrationResult",
    "Check",
    "Feedback",
    "Method",
    "MethodName",
    "Percentiles",
    "Search",
    "TuningResult",
    "calibrate",
    "tune_thresholds",
]
