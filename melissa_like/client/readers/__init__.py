"""Readers of what programs leave that nobody edits, by import path under `solver.reader`.

A reader turns files, or printed lines, into `Found` time steps while the program runs, and never reads a file that is
not complete: see melissa_like.client.following for what it is given. Its nouns: a `Pattern` says which files there are
and what their names tell, a `StepBook` which steps are complete, a `Source` how an array becomes a field. All runs on
the follower's thread. A library that only one reader needs is loaded when that one begins to read.

README.md in this folder lists the readers with their options, and shows how to write one.
"""

from melissa_like.client.readers.hdf5 import Hdf5Files
from melissa_like.client.readers.lines import PrintedLines
from melissa_like.client.readers.meshes import MeshFiles
from melissa_like.client.readers.npy import NpyFiles
from melissa_like.client.readers.openfoam import OpenFoamTimes
from melissa_like.client.readers.raw import RawFiles
from melissa_like.client.readers.tables import TextTables

__all__ = ["Hdf5Files", "MeshFiles", "NpyFiles", "OpenFoamTimes", "PrintedLines", "RawFiles", "TextTables"]
