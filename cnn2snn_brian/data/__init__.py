"""
Labelled images: scikit-learn's digits, CIFAR-10, or a folder of class folders.

All of them arrive as 8-bit images in torch's order, (n, channels, height, width).
"""

from cnn2snn_brian.data.data_sets import load_cifar10, load_digits
from cnn2snn_brian.data.image_folder import load_folder
from cnn2snn_brian.data.labelled_images import LabelledImages
from cnn2snn_brian.data.load import (
    is_split,
    load_data,
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

#: The name of version 0.1.0.
load_test_pictures = load_test_images
