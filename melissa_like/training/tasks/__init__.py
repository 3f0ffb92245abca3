"""Tasks: what is learned, one file each. A `Task` says what a sample holds, what the network is given and returns, and
what is normalized; it may call the network several times.

Yours is any class with these names, called with `layout` and the options of its YAML mapping (`training.task`). Nothing
here knows of losses, optimizers or ranks.
"""

from melissa_like.training.tasks.autoregressive import Autoregressive
from melissa_like.training.tasks.direct import Direct
from melissa_like.training.tasks.operator import Operator
from melissa_like.training.tasks.task import Compared, Predicts, RollsOut, Task, TaskFactory

__all__ = ["Autoregressive", "Compared", "Direct", "Operator", "Predicts", "RollsOut", "Task", "TaskFactory"]
