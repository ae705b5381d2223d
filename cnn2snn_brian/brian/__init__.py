"""Brian2 objects of a network: groups of neurons, synapses, input."""
