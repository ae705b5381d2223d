"""Networks in the format that simulators exchange: NIR graphs, written and read."""

from cnn2snn_brian.nir.reading import network_fields
from cnn2snn_brian.nir.to_nir import Integration, Pooling, Resistance, to_nir
