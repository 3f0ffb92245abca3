"""Online against offline: the cases, one run of each arm, and what a table of runs says.

A *case* is a solver, a task, a network and a recipe. An *arm* of it is how its network is fed: offline, by N
simulations that were written to HDF5 before, or online, by fresh ones through the reservoir. A *run* is one arm with
one seed; it becomes a file of results, so that an interrupted table goes on where it stopped.

`case_table` and `feeds` say what is compared; `results`, `verdict` and `pictures` know of files and numbers only.
`simulations` are those on disk, `offline` and `online` train, `errors` measures what was trained.
"""
