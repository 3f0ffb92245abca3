"""Solvers, losses and consumers that the tests plug in, as a user would: by import path."""
