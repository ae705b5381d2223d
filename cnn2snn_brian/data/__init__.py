"""
Labelled images: scikit-learn's digits, CIFAR-10, or a folder of class folders.

All of them arrive as 8-bit images in torch's order, (n, channels, height, width).
"""

from cnn2snn_brian.data.images import LabelledImages, load_folder
from cnn2snn_brian.data.load import (
    is_split,
    load_cifar10,
    load_data,
    load_digits,
    load_test_images,
    load_training_images,
)

__all__ = [
    "LabelledImages",
    "is_split",
    "load_cifar10",
    "load_data",
    "load_digits",
    "load_folder",
    "load_test_images",
    "load_test_pictures",
    "load_training_images",
]
load_test_pictures = load_test_images
