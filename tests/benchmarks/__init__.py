"""Measurements, as ratios against a peer or the machine's limit in the same run: `python -m tests.benchmarks NAME`."""
