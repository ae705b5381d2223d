"""
What the paper reports, to be set beside what we measure.

Shang, Li and You, An SNN Construction Method Based on CNN Conversion and Threshold
Setting.
"""

__all__ = ["ACCURACIES", "ENERGY_PER_EVENT_J", "IMAGES_PER_SECOND", "THRESHOLDS"]

#: Table I, thresholds by layer.
THRESHOLDS = {
    "conv1": 6.8,
    "pool1": 0.75,
    "conv2": 0.1,
    "pool2": 0.75,
    "conv3": 0.1,
    "ip1": 0.7,
    "ip2": 0.7,
}

#: Table II: CNN, adjusted CNN and C_SNN in percent, and C_SNN/CNN in percent.
ACCURACIES = {
    "airplane": (83.5, 82.3, 82.0, 98.2),
    "automobile": (85.8, 85.2, 84.7, 98.7),
    "bird": (71.7, 71.5, 70.6, 98.5),
    "cat": (67.5, 66.9, 65.8, 97.5),
    "deer": (84.2, 83.6, 82.8, 98.3),
    "dog": (73.2, 71.8, 71.5, 97.7),
    "frog": (77.1, 76.9, 75.4, 97.8),
    "horse": (79.5, 79.3, 78.9, 99.2),
    "ship": (86.7, 85.7, 84.9, 97.9),
    "truck": (94.7, 92.8, 91.5, 96.6),
    "average": (80.39, 79.6, 78.8, 98.04),
}

#: Eq. 9 and 10. The text prints mJ; only pJ gives its 3.9 mW.
SYNAPSES = 1.42e7
IMAGES_PER_SECOND = 742
ENERGY_PER_EVENT_J = 0.37e-12
POWER_W = 3.9e-3
