"""Online training of deep surrogates: solvers stream into a reservoir that a PyTorch trainer consumes.

The sub-packages are the stages of the data path (DESIGN: folders are processes). A solver imports
`melissa_like.client`, a hand-written training loop `melissa_like.loading`; everything else is reached through the
command `melissa-like`. This module imports nothing, so that a client stays light.
"""

__all__: list[str] = []
