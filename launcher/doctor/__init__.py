"""`melissa-like doctor`: looks whether a study could run here, before an allocation is burnt for finding out.

A *check* looks at one thing and gives one *finding*: it is good, it was skipped for a reason, or it is not good, and
then it says what to do. What can be seen from the launcher's host is looked at in `here`. The rest is told by *probes*:
small jobs, one per server rank and one of two client ranks, which the configured executor starts as it would those of
the study. They find their *errand* in a folder beside the run directory, try what a server rank or a client rank would
do (see files, open and make connections, start MPI, meet over gloo or nccl), and leave a *report* there.

| file | what |
|---|---|
| `examination.py` | the whole of it: folder, checks, jobs, what is printed |
| `here.py` | what is looked at in this process |
| `scheduler.py`, `limits.py`, `judging_site.py` | what the scheduler says; whether the site settings fit that |
| `jobs.py` | the probes as jobs of the configured executor, until all have reported or the time is over |
| `probe.py`, `contact.py`, `meeting.py` | the program of a probe; connections and clocks; torch's part |
| `reports.py` | what probes are told and what they tell |
| `judging.py`, `judging_nodes.py` | from reports to findings, without looking at anything |
| `findings.py` | what a check gives, and how it reads |

Nothing of it stays: jobs are ended, the folder is removed. `probe` runs where a solver does, so it imports no torch and
no hydra.
"""

__all__: list[str] = []
