"""Loops as people write them, with either library under the same lines: every number they read is PyTorch's."""

import copy
import io
import math

import numpy as np
import pytest

import flame
from tests.parity.both import torch
from tests.surface.sides import interpreted

pytestmark = pytest.mark.parity
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(64, 8)).astype(np.float32), rng.integers(0, 3, 64)
IDIOMS = []


def idiom(program):
    """A program of (library, nn, functional) that returns numbers."""
    IDIOMS.append(pytest.param(program, id=program.__name__))
    return program


@pytest.mark.parametrize("program", IDIOMS)
def test_an_idiom(program):
    with interpreted():
        ours = program(flame, flame.nn, flame.nn.functional)
    theirs = program(torch, torch.nn, torch.nn.functional)
    np.testing.assert_allclose(np.array(ours, float), np.array(theirs, float), rtol=2e-3, atol=2e-4)


def same_start(library, model):
    """Weights that do not depend on the library's random numbers."""
    draw = np.random.default_rng(3)
    state = model.state_dict()
    for key, value in state.items():
        if value.dtype.is_floating_point and not key.endswith("running_var"):
            state[key] = library.tensor(draw.normal(size=tuple(value.shape)).astype(np.float32) * 0.3)
    model.load_state_dict(state)
    return model


def net(library):
    nn = library.nn
    layers = nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    return same_start(library, nn.Sequential(*layers))


def batches(library, size=8):
    for i in range(0, 64, size):
        yield library.tensor(X[i : i + size]), library.tensor(Y[i : i + size])


@idiom
def accumulated_gradients(lib, nn, F):
    model, seen, every = net(lib), [], 3
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-2)
    optimizer.zero_grad(set_to_none=False)
    for i, (x, y) in enumerate(batches(lib)):
        loss = F.cross_entropy(model(x), y) / every
        loss.backward()
        seen.append(loss.item())
        if (i + 1) % every == 0 or i == 7:
            seen.append(float(nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True, foreach=True)))
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
    return seen


@idiom
def averages_in_a_state_dict(lib, nn, F):
    model = same_start(lib, nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    second = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for x, y in batches(lib):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with lib.no_grad():
            for key, value in model.state_dict().items():
                average[key].lerp_(value, 0.1) if value.dtype.is_floating_point else average[key].copy_(value)
            for old, new in zip(second.parameters(), model.parameters()):
                old.data.mul_(0.9).add_(new.data, alpha=0.1)
    second.load_state_dict({**average, **dict(second.named_parameters())})
    return [value.sum().item() for value in (*average.values(), *second.state_dict().values())]


@idiom
def groups_without_decay_under_a_cosine(lib, nn, F):
    model, decayed, others, seen = net(lib), [], [], []
    for name, module in model.named_modules():
        for end, _ in module.named_parameters(recurse=False):
            (decayed if end == "weight" and isinstance(module, nn.Linear) else others).append(f"{name}.{end}")
    table = dict(model.named_parameters())
    assert sorted(decayed + others) == sorted(table)
    groups = [{"params": [table[n] for n in decayed], "weight_decay": 0.1, "name": "decayed"}]
    groups.append({"params": [table[n] for n in others], "weight_decay": 0.0})
    optimizer = lib.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), fused=False)
    rate = lambda t: min(1, (t + 1) / 3) * 0.5 * (1 + math.cos(math.pi * t / 8))  # noqa: E731
    scheduler = lib.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for x, y in batches(lib):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        scheduler.step()
        seen += [loss.item(), optimizer.param_groups[0]["lr"], scheduler.get_last_lr()[1]]
    return seen


@idiom
def lora_that_one_writes_and_merges(lib, nn, F):
    class Adapted(nn.Module):
        def __init__(self, base, rank=2, alpha=4):
            super().__init__()
            self.base, self.scale = base, alpha / rank
            self.base.weight.requires_grad = False
            self.A, self.B = nn.Parameter(lib.zeros(rank, 8)), nn.Parameter(lib.zeros(base.out_features, rank))
            nn.init.constant_(self.A, 0.1)

        def forward(self, x):
            return self.base(x) + (x @ self.A.T @ self.B.T) * self.scale

        @lib.no_grad()
        def merged(self):
            self.base.weight += self.B @ self.A * self.scale
            return self.base

    model, seen = net(lib), []
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and module.in_features == 8:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, Adapted(module))
    optimizer = lib.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-2)
    for x, y in batches(lib):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    seen.append(len({k for k in model.state_dict() if ".A" in k or ".B" in k}))
    before = model(lib.tensor(X))
    for name, module in list(model.named_children()):
        if isinstance(module, Adapted):
            setattr(model, name, module.merged())
    return [*seen, (model(lib.tensor(X)) - before).abs().max().item() < 1e-4, len(model.state_dict())]


@idiom
def one_file_of_everything(lib, nn, F):
    def parts():
        model = net(lib)
        optimizer = lib.optim.AdamW(model.parameters(), 1e-2)
        return model, optimizer, lib.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=20)

    def step(model, optimizer, scheduler, x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss.item()

    mine, file, every = parts(), io.BytesIO(), list(batches(lib))
    for batch in every[:4]:
        step(*mine, *batch)
    names = "model", "optimizer", "scheduler"
    whole = {name: part.state_dict() for name, part in zip(names, mine)}
    lib.save({**whole, "epoch": 3, "rng": lib.get_rng_state(), "args": {"shape": (1, 2)}, "best": math.inf}, file)
    file.seek(0)
    found, again = lib.load(file, map_location="cpu", weights_only=True), parts()
    for name, part in zip(names, again):
        part.load_state_dict(found[name])
    lib.set_rng_state(found["rng"])
    return [found["epoch"], found["best"] == math.inf, *[step(*again, *batch) for batch in every[4:]]]


@idiom
def tied_weights(lib, nn, F):
    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x))

    model, tokens, seen = Language(), lib.arange(12) % 10, []
    with lib.no_grad():
        model.embed.weight.copy_(lib.tensor(X[:10, :6]))
    optimizer = lib.optim.Adam(model.parameters(), 0.05)
    for _ in range(5):
        loss = F.cross_entropy(model(tokens), (tokens + 1) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    twin = copy.deepcopy(model.to(lib.float64))
    tied = [m.head.weight is m.embed.weight for m in (model, twin)]
    return [*seen, *tied, len(list(model.parameters())), len(model.state_dict()), twin.head.weight.dtype == lib.float64]


@idiom
def norms_that_are_frozen(lib, nn, F):
    layers = nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Dropout(0.0), nn.Linear(4, 3)
    model, seen = same_start(lib, nn.Sequential(*layers)), []
    optimizer = lib.optim.SGD(model.parameters(), 0.05)
    for epoch in range(3):
        model.train()
        if epoch == 2:
            for module in model.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.eval().requires_grad_(False)
        for x, y in batches(lib, 16):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with lib.inference_mode():
            seen.append(sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches(lib)))
            seen.append((model(lib.tensor(X)).argmax(dim=1) == lib.tensor(Y)).float().mean().item())
    return [*seen, int(model[1].num_batches_tracked), model[1].running_mean.sum().item(), model[1].weight.grad is None]


@idiom
def filtered_state_dicts(lib, nn, F):
    model, seen = net(lib), []
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("5.")}
    found = model.load_state_dict(state, strict=False)
    seen += [len(found.missing_keys), len(found.unexpected_keys)]
    wrapped = {"module." + k: v for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        model.load_state_dict(wrapped)
    model.load_state_dict({k.replace("module.", ""): v for k, v in wrapped.items()})
    for name, p in model.named_parameters():
        p.requires_grad = not name.startswith("0")
    seen.append(sum(p.numel() for n, p in model.named_parameters() if p.requires_grad and "weight" in n))
    model.apply(lambda m: nn.init.constant_(m.weight, 0.5) if isinstance(m, nn.Linear) else None)
    return [*seen, model[0].weight.sum().item(), sum(p.numel() for p in model.parameters())]


@idiom
def an_optimizer_of_ones_own(lib, nn, F):
    class Own(lib.optim.Optimizer):
        def __init__(self, params, lr=1e-2, betas=(0.9, 0.999), eps=1e-8):
            super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

        @lib.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    state = self.state[p]
                    if not state:
                        state["step"], state["m"], state["v"] = 0, lib.zeros_like(p), lib.zeros_like(p.data)
                    (b1, b2), m, v = group["betas"], state["m"], state["v"]
                    state["step"] += 1
                    m.mul_(b1).add_(p.grad, alpha=1 - b1)
                    v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                    rate = group["lr"] * math.sqrt(1 - b2 ** state["step"]) / (1 - b1 ** state["step"])
                    p.data.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-rate)

    model, seen = net(lib), []
    optimizer = Own(model.parameters())
    for x, y in batches(lib):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    again = Own(model.parameters())
    again.load_state_dict(optimizer.state_dict())
    return [*seen, again.state_dict()["state"][0]["m"].sum().item()]


@idiom
def no_module_at_all(lib, nn, F):
    w, b, seen = lib.zeros(8, 3, requires_grad=True), lib.zeros(3, requires_grad=True), []
    for i, (x, y) in enumerate(batches(lib)):
        loss = F.nll_loss(F.log_softmax(x @ w + b, dim=-1), y)
        seen.append(loss.item())
        if i % 2:
            gw, gb = lib.autograd.grad(loss, [w, b])
            w.data -= 0.1 * gw
            b.data.sub_(gb, alpha=0.1)
            continue
        loss.backward()
        with lib.no_grad():
            w -= 0.5 * w.grad
            b -= 0.5 * b.grad
            w.grad.zero_()
        b.grad = None
    return seen


@idiom
def two_players_and_a_gradient_penalty(lib, nn, F):
    maker = same_start(lib, nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8)))
    judge = same_start(lib, nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)))
    first = lib.optim.Adam(maker.parameters(), 2e-3, betas=(0.5, 0.999))
    second = lib.optim.RMSprop(judge.parameters(), 1e-3)
    cost, label, z, seen = nn.BCEWithLogitsLoss(), lib.full((8,), 1.0), lib.tensor(X[:8, :4]), []
    for x, _ in batches(lib):
        judge.zero_grad()
        real = cost(judge(x).view(-1), label.fill_(1.0))
        real.backward()
        fake = maker(z)
        cost(judge(fake.detach()).view(-1), label.fill_(0.0)).backward()
        between = (0.5 * x + 0.5 * fake.detach()).requires_grad_(True)
        d = judge(between)
        (g,) = lib.autograd.grad(d, between, grad_outputs=lib.ones_like(d), create_graph=True, retain_graph=True)
        penalty = 10 * ((g.norm(2, dim=1) - 1) ** 2).mean()
        penalty.backward()
        second.step()
        maker.zero_grad()
        fooled = cost(judge(fake).view(-1), label.fill_(1.0))
        fooled.backward()
        first.step()
        seen += [real.item(), penalty.item(), fooled.item()]
    return seen


@idiom
def a_codebook_in_buffers(lib, nn, F):
    class Codes(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", lib.tensor(X[:5, :4].copy()))
            self.register_buffer("count", lib.zeros(5))

        def forward(self, x):
            far = x.pow(2).sum(1, keepdim=True) - 2 * x @ self.table.t() + self.table.pow(2).sum(1)
            place = far.argmin(1)
            found = F.embedding(place, self.table)
            if self.training:
                with lib.no_grad():
                    chosen = F.one_hot(place, 5).type(x.dtype)
                    self.count.data.mul_(0.9).add_(chosen.sum(0), alpha=0.1)
                    mean = chosen.t() @ x / (self.count.unsqueeze(1) + 1e-5)
                    self.table.data.copy_(self.table * 0.9 + 0.1 * mean)
            return x + (found - x).detach(), F.mse_loss(found.detach(), x)

    codes, encoder, seen = Codes(), same_start(lib, nn.Linear(8, 4)), []
    optimizer = lib.optim.Adam(encoder.parameters(), 1e-2)
    for x, _ in batches(lib):
        out, commitment = codes(encoder(x))
        loss = commitment + out.pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    return [*seen, codes.table.sum().item(), codes.count.sum().item()]


@idiom
def residual_blocks_in_place(lib, nn, F):
    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.conv1, self.conv2 = (nn.Conv2d(c, c, 3, 1, 1, bias=False) for _ in range(2))
            self.norm1, self.norm2, self.relu = nn.BatchNorm2d(c), nn.BatchNorm2d(c), nn.ReLU(inplace=True)

        def forward(self, x):
            identity = x
            out = self.relu(self.norm1(self.conv1(x)))
            out = self.norm2(self.conv2(out))
            out += identity
            return self.relu(out)

    model, x, seen = same_start(lib, nn.Sequential(Block(2), Block(2))), lib.tensor(X.reshape(4, 2, 8, 8)), []
    optimizer = lib.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    for _ in range(3):
        loss = model(x).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    return seen


@idiom
def a_mask_of_labels_and_clipped_hooks(lib, nn, F):
    model = net(lib)
    for p in model.parameters():
        p.register_hook(lambda g: g.clamp(-0.01, 0.01))
    labels = lib.tensor(Y.copy())
    labels[:20] = -100
    logits = model(lib.tensor(X))
    F.cross_entropy(logits, labels, ignore_index=-100).backward()
    there = labels != -100
    right = (logits.argmax(-1)[there] == labels[there]).float().mean().item()
    largest = max(p.grad.abs().max().item() for p in model.parameters())
    norm = nn.utils.clip_grad_norm_(iter(model.parameters()), 1.0, norm_type=float("inf"))
    return [right, largest, float(norm), there.sum().item(), lib.finfo(lib.float16).max, lib.iinfo(lib.int).max]
