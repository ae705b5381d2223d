"""Every table and figure of the paper, reproduced."""

from cnn2snn_brian.reproduction.report import collect, write_report
from cnn2snn_brian.reproduction.steps import FULL, QUICK, Reproduction
