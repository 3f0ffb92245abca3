"""Random failures of a study's processes at random moments, and books that must balance in the end.

`python -m tests.chaos --seed S --minutes M` runs one study and disturbs it: kills of solver ranks, server ranks, guards
and the launcher (followed by `resume`), stops (SIGSTOP, later SIGCONT), and a full disk. What is done when follows from
the seed; who is hit follows from the seed and from who lives then. Then it lets the study end, and looks at the books.

| module | what |
|---|---|
| `plan` | which failures, when: pure |
| `processes` | who lives of a study, by what it was started with |
| `disturb` | does it, and writes down whom it hit |
| `study` | what is run |
| `seed` | a seed from its beginning to its end |
| `verdict` | what the report, the journal and the audit say |
| `__main__` | the command: a line per seed |

The audit does not believe our counters: `tests.plugins.told` writes into every row of which simulation, attempt and
step it is; `tests.plugins.audited` is a training loop that looks at every batch and keeps what it has seen with the
checkpoints, so that in the end it knows what is in the history of the final weights.
"""

__all__: list[str] = []
