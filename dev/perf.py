import torch, sys, numpy as np
sys.path.insert(0, ".")
from tests.gpu.test_products_on_gpu import spec_of
from flame.codegen.print_product import codes
from flame.runtime import devices, lib_tensor
torch.zeros(1, device="cuda")
device = devices.get("cuda")
stream = torch.cuda.ExternalStream(int(device.stream.handle))
def times(fs, n=9, calls=6):
    for f in fs: f(); f()
    torch.cuda.synchronize(); ts = [[] for _ in fs]
    for _ in range(n):
        for f, t in zip(fs, ts):
            s, e = (torch.cuda.Event(enable_timing=True) for _ in "ab")
            with torch.cuda.stream(stream):
                torch.cuda._sleep(100000); s.record()
                for _ in range(calls): f()
                e.record()
            torch.cuda.synchronize(); t.append(s.elapsed_time(e) / calls)
    return [sorted(t)[n // 2] for t in ts]
first = True
logs = []
for m, n, k in ((8192, 8192, 8192), (4096, 4096, 4096), (16384, 4608, 1152), (16384, 1152, 4608), (2048, 2048, 2048), (8192, 3072, 3072), (4096, 12288, 3072), (5000, 3000, 1000), (1152, 4608, 16384), (77 * 16, 2048, 768)):
    for form in ("kk", "kn", "mn") if m != 5000 else ("kk",):
        a = torch.randn((m, k) if form[0] == "k" else (k, m), device="cuda").bfloat16()
        b = torch.randn((n, k) if form[1] == "k" else (k, n), device="cuda").bfloat16()
        out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
        left, right = (a if form[0] == "k" else a.t()), (b.t() if form[1] == "k" else b)
        made = codes(spec_of((), m, n, k, *form)); fs = device.kernels([c for _, c in made])
        if first: print("%-28s" % "shape", *("%16s" % t.name.replace(" stages", "").replace("alternate","alt").replace("together","tog").replace("cluster","cl") for t, _ in made)); first = False
        runs = [lib_tensor.bind(spec_of((), m, n, k, *form), t, c, f, 132) for (t, c), f in zip(made, fs)]
        at = a.data_ptr(), b.data_ptr(), out.data_ptr()
        ts = times([lambda r=r: r(*at, stream=device.stream.handle) for r in runs] + [lambda: torch.matmul(left, right)])
        logs.append(ts[-1] / min(ts[:-1]))
        print("%-28s" % f"{m} {n} {k} {form}", *("%16.3f" % (ts[-1] / t) for t in ts[:-1]), "%6.0f TF" % (2 * m * n * k / ts[-1] / 1e9), flush=True)
print("geometric mean of the best", float(np.exp(np.mean(np.log(logs)))), "cases", len(logs))
