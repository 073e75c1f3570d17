"""Counts the library calls that executables make: by the sizes (m, n, k) of each matrix product."""

from collections import Counter

from flame.ir.plan import Call
from flame.runtime.execute import Executable


class Products(Counter):
    """How often each product ran since `start()`; `with Products() as seen:` watches every executable."""

    def __enter__(self):
        run = self.run = Executable.run

        def counted(executable, *args, **kwargs):
            for step in executable.plan.steps:
                if isinstance(step, Call):
                    self[step.spec.m, step.spec.n, step.spec.k] += 1
            return run(executable, *args, **kwargs)

        Executable.run = counted
        return self

    def __exit__(self, *_):
        Executable.run = self.run
