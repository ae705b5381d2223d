"""Looking into results: what a network loses, and a page to look through spikes."""

from cnn2snn_brian.inspector.inspector import matching, write_inspector
