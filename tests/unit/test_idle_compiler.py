"""Training does not load torch's compiler; who needs it gets it."""

import subprocess
import sys

PROGRAM = """
import sys
import torch
from torch import nn
from melissa_like.server.idle_compiler import leave_compiler_unloaded

leave_compiler_unloaded()
network = nn.Linear(3, 3)
optimizer = torch.optim.Adam(network.parameters())
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
before = [weights.clone() for weights in network.parameters()]
for _ in range(2):
    optimizer.zero_grad()
    network(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
optimizer.load_state_dict(optimizer.state_dict())
print(any(map(torch.equal, before, network.parameters())), "sympy" in sys.modules)
torch._dynamo.reset()
import torch._dynamo.config
print("sympy" in sys.modules, torch._dynamo.config is sys.modules["torch._dynamo.config"])
optimizer.step()
print(sys.modules["torch._dynamo"] is torch._dynamo, hasattr(torch._dynamo, "optimize"))
"""


def test_an_optimizer_steps_without_the_compiler_and_the_compiler_is_there_when_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.splitlines() == ["False False", "True True", "True True"]
