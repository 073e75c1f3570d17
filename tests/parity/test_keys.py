"""x[key] and x[key] = value for keys drawn at random from everything that may stand between the brackets."""

from typing import Any

import numpy as np
import pytest

import flame
from tests.surface.sides import interpreted

torch = pytest.importorskip("torch", reason="parity needs torch==2.13.0: pip install -e '.[parity]'")

pytestmark = pytest.mark.parity
SEEDS = range(400)


class Keys:
    """A random key for a shape, to be spelt for either library."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]):
        self.rng, self.made = rng, list[Any]()
        self.common = tuple(int(n) for n in rng.integers(1, 4, rng.integers(0, 3)))  # what index tensors broadcast to
        dims = list(shape[: rng.integers(0, len(shape) + 1)])
        rest = len(shape) - len(dims)
        while dims:
            kind = rng.choice(
                ["int", "slice", "None", "tensor", "list", "mask", "0-d", "bool"],
                p=[0.15, 0.3, 0.1, 0.25, 0.05, 0.06, 0.06, 0.03],
            )
            dims = self.add(kind, dims)
        if rest and rng.random() < 0.5:
            self.made.insert(int(rng.integers(0, len(self.made) + 1)) if not self.made else len(self.made), Ellipsis)

    def add(self, kind: str, dims: list[int]) -> list[int]:
        rng, n = self.rng, dims[0]
        match kind:
            case "int":
                self.made.append(int(rng.integers(-n, n)))
            case "slice":
                ends = [None if rng.random() < 0.3 else int(rng.integers(-n - 2, n + 3)) for _ in range(2)]
                self.made.append(slice(*ends, None if rng.random() < 0.5 else int(rng.integers(1, 4))))
            case "tensor" | "list":
                shape = tuple(1 if rng.random() < 0.3 else m for m in self.common)[
                    rng.integers(0, len(self.common) + 1) :
                ]
                index = rng.integers(-n, n, shape or (1,))
                self.made.append(index.tolist() if kind == "list" else index)
            case "0-d":
                self.made.append(rng.integers(-n, n, ()))
            case "mask":  # as many true as the other indices have, or one
                rank = int(rng.integers(1, len(dims) + 1))
                mask = np.zeros(dims[:rank], bool)
                mask.reshape(-1)[rng.integers(0, mask.size)] = True
                self.made.append(mask)
                return dims[rank:]
            case "None":
                self.made.append(None)
                return dims
            case _:
                self.made.append(True)
                return dims
        return dims[1:]

    def spelt(self, lib: Any) -> Any:
        keys = tuple(lib.tensor(k) if isinstance(k, (np.ndarray, np.generic)) else k for k in self.made)
        return keys[0] if len(keys) == 1 and not isinstance(keys[0], list) else keys


def both(seed: int) -> tuple[Keys, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 5)))
    return Keys(rng, shape), rng.uniform(-1, 1, shape), rng


def reading(seed: int) -> None:
    keys, array, _ = both(seed)
    x, z = flame.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    wanted = z[keys.spelt(torch)]
    found = x[keys.spelt(flame)]
    assert found.shape == tuple(wanted.shape), keys.made
    np.testing.assert_array_equal(found.numpy(), wanted.detach().numpy(), err_msg=str(keys.made))
    weight = np.random.default_rng(seed).uniform(-1, 1, wanted.shape)
    (found * flame.tensor(weight)).sum().backward()
    (wanted * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), 1e-12, 1e-12, err_msg=str(keys.made))


def writing(seed: int) -> None:
    """Into a tensor whose every position is named at most once, for PyTorch's gradient is right only then."""
    keys, array, rng = both(seed)
    places = np.arange(array.size).reshape(array.shape)
    named = torch.tensor(places)[keys.spelt(torch)].numpy()
    shape = tuple(1 if rng.random() < 0.2 else n for n in named.shape)[
        rng.integers(0, named.ndim + 1) if rng.random() < 0.3 else 0 :
    ]
    value = rng.uniform(-1, 1, shape)
    x, z = flame.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    v, w = flame.tensor(value, requires_grad=True), torch.tensor(value, requires_grad=True)
    y, q = x.clone(), z.clone()
    y[keys.spelt(flame)] = v
    q[keys.spelt(torch)] = w
    unique = len(np.unique(named)) == named.size
    if unique:
        np.testing.assert_array_equal(y.numpy(), q.detach().numpy(), err_msg=str(keys.made))
        weight = rng.uniform(-1, 1, array.shape)
        (y * flame.tensor(weight)).sum().backward()
        (q * torch.tensor(weight)).sum().backward()
        for mine, other in ((x, z), (v, w)):
            want = torch.zeros_like(other) if other.grad is None else other.grad
            got = np.zeros(mine.shape) if mine.grad is None else mine.grad.numpy()
            np.testing.assert_allclose(got, want.numpy(), 1e-12, 1e-12, err_msg=str(keys.made))
    else:  # the last of equal positions wins
        expected = array.reshape(-1).copy()
        for place, number in zip(named.reshape(-1), np.broadcast_to(value, named.shape).reshape(-1)):
            expected[place] = number
        assert y.numpy().reshape(-1).tolist() == expected.tolist(), keys.made


@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("act", [reading, writing], ids=lambda f: f.__name__)
def test_keys_at_random(act, part):
    with interpreted():
        for seed in SEEDS[part::8]:
            act(seed)


def test_what_pytorch_refuses_is_refused():
    refused = 0
    for seed in SEEDS:
        keys, array, _ = both(seed)
        at = [i for i, k in enumerate(keys.made) if isinstance(k, (int, np.ndarray)) and k is not True]
        if not at:
            continue
        k = keys.made[at[-1]]
        keys.made[at[-1]] = k + 99 if np.asarray(k).dtype != bool else np.ones([n + 1 for n in k.shape], bool)
        try:
            assert not torch.tensor(array)[keys.spelt(torch)].numel()  # it does not look where it reads nothing
        except IndexError:
            refused += 1
            with pytest.raises(flame.FlameError):
                flame.tensor(array)[keys.spelt(flame)]
            with pytest.raises(flame.FlameError):
                flame.tensor(array)[keys.spelt(flame)] = 1.0
    assert refused > 100
