"""What a simulation measured, as plain numpy: spike counts, trains, potentials."""
