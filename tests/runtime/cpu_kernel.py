"""Small CPU kernels for the tests of the runtime: written as the printer writes them, run over numpy arrays."""

from flame.runtime import cpu_compile


def source(names, body, arguments, name="kernel"):
    """The text of a kernel with these imports, lines and arguments."""
    head = f"from flame.runtime.prelude_cpu import {', '.join(sorted(set(names)))}\n\n\n"
    return head + f"def {name}(begin, end, n, {', '.join(arguments)}):\n" + "".join(f"    {line}\n" for line in body)


def elementwise(expression, names, inputs, out, name="kernel"):
    """out[i] = expression of x0, x1, ... which are loaded from memory of the dtypes `inputs`."""
    names = [*names, *(f"load1_{d}" for d in inputs), f"store1_{out}"]
    body = ["for i in range(begin, end):"]
    body += [f"    x{k} = load1_{d}(a{k}, i)" for k, d in enumerate(inputs)]
    body += [f"    store1_{out}(out0, i, {expression})"]
    return source(names, body, [*(f"a{k}" for k in range(len(inputs))), "out0"], name)


def load(text, signature, name="kernel"):
    """The kernel as a function of (begin, end, n, *args)."""
    return cpu_compile.load_cpu(cpu_compile.compile_cpu(text, name, tuple(signature)), name, tuple(signature))


def run(text, arrays, n=0, count=None):
    """Run over [0, count), by default the last array's size."""
    kernel = load(text, ["address"] * len(arrays))
    kernel(0, arrays[-1].size if count is None else count, n, *(a.ctypes.data for a in arrays))
    return arrays[-1]
