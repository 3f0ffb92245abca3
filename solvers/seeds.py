"""Functions from a number: how a parameter `seed`, a float drawn by the sampler, becomes a random number generator.

An initial condition or a forcing is a function, and a design draws numbers. So a solver declares one parameter,
`seed: {_target_: melissa_like.sampling.Uniform, low: 0, high: 1}`, and draws the function from the generator that this
module makes of it.

The seed is the float rounded to float32: all its bits, not its integer part. Two simulations then have two functions,
or nearly so: of 10 000 seeds that are drawn at random from [0, 1), two pairs are the same. Parameters travel as
float64, but people keep them in arrays of float32. The rounding makes both the same seed, so a simulation can be run
again from either. One that the study runs again gets the same float from the journal, so it is the same simulation, on
any number of ranks, each of which may draw the whole function by itself. Numbers that a person writes (0, 1, 2, ...)
are seeds too.

Nothing is learned from a seed: functions of neighbouring seeds have nothing in common. So a surrogate gets the fields
that came of it, and not the seed: `training.task.parameters` of `Autoregressive` and `Operator` says which parameters
it gets. For the same reason a sampler that moves parameters a little gets quite another function for it.

The stream behind a generator is fixed by numpy. It is the same on every machine; another version of numpy may draw
normal numbers in another way, and none has since 1.17.
"""

import numpy as np

__all__ = ["generator", "seed_bits"]


def seed_bits(seed: float) -> int:
    """All the bits of a finite float as float32 has it, as a number from 0 to 2⁶⁴ − 1; −0 and 0 are one seed.

    Raises:
        ValueError: it is NaN, infinite, or too large for float32.
    """
    value = float(seed)
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise ValueError(f"seed is {value}: it must be a finite number, such as one drawn from Uniform(low=0, high=1)")
    return int(np.float64(np.float32(value + 0.0)).view(np.uint64))


def generator(seed: float, function: str) -> np.random.Generator:
    """A generator for one function of one simulation: the same arguments, the same numbers.

    Args:
        seed: the parameter as the sampler drew it; any finite number.
        function: what is drawn, such as "initial" or "forcing". Functions of different names are independent, and
            drawing more numbers for one leaves the others as they are.

    Raises:
        ValueError: a seed that is NaN, infinite, or too large for float32.
    """
    return np.random.default_rng(np.random.SeedSequence(seed_bits(seed), spawn_key=tuple(function.encode())))
