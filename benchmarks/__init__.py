"""Benchmarks of the package: ``python -m benchmarks`` in the checkout."""
