"""Networks in the format that simulators exchange: NIR graphs, written and read."""
