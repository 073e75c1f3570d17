"""Hooks and overrides of loading, from a dictionary and from files: beside torch.nn.Module, and in io.load_model."""

import numpy as np
import pytest

import flame
from flame import io, nn
from flame.errors import StateError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
WAYS = ("dictionary", "safetensors", "pt", "checkpoint")


def renaming(library):
    """A layer whose weight was called w, scaled by 2, before version 2; and one that saves what is no tensor."""

    class Layer(library.nn.Module):
        _version = 2

        def __init__(self):
            super().__init__()
            self.weight = library.nn.Parameter(library.zeros(2, 3))

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
            if local_metadata.get("version", 1) < 2 and prefix + "w" in state_dict:
                state_dict[prefix + "weight"] = state_dict.pop(prefix + "w") * 2
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    class Extra(library.nn.Linear):
        def get_extra_state(self):
            return {"calls": 3, "seen": library.ones(2)}

        def set_extra_state(self, state):
            self.found = state["calls"], state["seen"].tolist()

    return library.nn.Sequential(Layer(), Extra(2, 2))


def load(model, state, way, folder, **options):
    if way == "dictionary":
        return tuple(model.load_state_dict(state, **options))
    if way == "checkpoint":
        one = type("Part", (), {"state_dict": lambda _: state})()
        io.load_checkpoint(io.save_checkpoint(folder / "c.pt", model=one), model=model, **options)
        return None
    path = folder / f"state.{way}"
    (io.save_file if way == "safetensors" else flame.save)(state, path)
    return io.load_model(model, path, **options)


@pytest.mark.parametrize("way", WAYS)
def test_an_override_renames(way, tmp_path):
    old = {"0.w": flame.ones(2, 3), "1.weight": flame.ones(2, 2), "1.bias": flame.zeros(2)}
    if way != "safetensors":
        old["1._extra_state"] = {"calls": 5, "seen": flame.zeros(1)}
    model = renaming(flame)
    options = {"strict": way != "safetensors"}
    found = load(model, old, way, tmp_path, **options)
    assert found is None or found == (["1._extra_state"] if way == "safetensors" else [], [])
    assert model[0].weight.tolist() == [[2.0] * 3] * 2
    assert way == "safetensors" or model[1].found == (5, [0.0])


def test_versions_stand_in_the_state_as_in_pytorch(tmp_path):
    mine, his = renaming(flame), renaming(torch)
    assert {k: dict(v) for k, v in mine.state_dict()._metadata.items()} == {
        k: dict(v) for k, v in his.state_dict()._metadata.items()
    }
    state = his.state_dict()
    state["0.w"] = torch.ones(2, 3)  # version 2 does not look for it
    torch.save(state, tmp_path / "his.pt")
    for way in ("dictionary", "file"):
        model = renaming(flame)
        with pytest.raises(StateError, match="unexpected: 0.w"):
            model.load_state_dict(state) if way == "dictionary" else io.load_model(model, tmp_path / "his.pt")
    flame.save(mine.state_dict(), tmp_path / "mine.pt")
    back = torch.load(tmp_path / "mine.pt", weights_only=True)
    assert back._metadata["0"] == {"version": 2}
    assert his.load_state_dict(back).missing_keys == []
    assert his[1].found == (3, [1.0, 1.0])


@pytest.mark.parametrize("way", WAYS)
def test_hooks_before_and_after(way, tmp_path):
    model, seen = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), []

    def before(module, state_dict, prefix, metadata, strict, missing, unexpected, errors):
        seen.append((prefix, strict, min(state_dict)))
        state_dict[prefix + "weight"] = state_dict.pop(prefix + "old").reshape(2, 2)
        state_dict.setdefault(prefix + "bias", flame.zeros(2))

    def after(module, keys):
        seen.append((list(keys.missing_keys), list(keys.unexpected_keys)))
        keys.missing_keys.clear()

    model[0].register_load_state_dict_pre_hook(before)
    model.register_load_state_dict_post_hook(after)
    state = {key: value + 1 for key, value in model.state_dict().items() if key.startswith("1.run")}
    state |= {"0.old": flame.arange(4).float(), "1.weight": flame.full((2,), 3.0), "1.bias": flame.ones(2)}
    load(model, state, way, tmp_path)
    assert seen == [("0.", True, "0.old"), (["1.num_batches_tracked"], [])]
    assert model[0].weight.tolist() == [[0.0, 1.0], [2.0, 3.0]] and model[0].bias.tolist() == [0.0, 0.0]
    assert model[1].running_var.tolist() == [2.0, 2.0] and model[1].weight.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("way", WAYS)
def test_what_hooks_cannot_make_fit_changes_nothing(way, tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[1].register_load_state_dict_pre_hook(lambda m, state, prefix, *rest: rest[-1].append("of another time"))
    kept = {key: value.tolist() for key, value in model.state_dict().items()}
    with pytest.raises(StateError, match="of another time"):
        load(model, {key: value + 1 for key, value in model.state_dict().items()}, way, tmp_path)
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    other.load_state_dict(model.state_dict())
    other.register_load_state_dict_post_hook(lambda m, keys: keys.unexpected_keys.append("never"))
    with pytest.raises(StateError, match="unexpected: never"):
        load(other, {key: value + 1 for key, value in model.state_dict().items()}, way, tmp_path)
    assert {key: value.tolist() for key, value in other.state_dict().items()} == kept


def test_an_override_that_takes_all_itself(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(flame.zeros(3))

        def _load_from_state_dict(self, state_dict, prefix, *rest):
            with flame.no_grad():
                self.table.copy_(state_dict[prefix + "pairs"].sum(0))

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            destination[prefix + "pairs"] = flame.stack([self.table, self.table]).detach()

    for way in WAYS:
        model = nn.Sequential(Own(), nn.Linear(1, 1))
        with flame.no_grad():
            model[0].table.fill_(1.5)
        state = model.state_dict()
        assert list(state) == ["0.pairs", "1.weight", "1.bias"]
        fresh = nn.Sequential(Own(), nn.Linear(1, 1))
        load(fresh, dict(state), way, tmp_path)
        assert fresh[0].table.tolist() == [3.0] * 3 and fresh[1].weight.item() == state["1.weight"].item()


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_module_takes_its_shape_from_a_file(tmp_path):
    torch.save(torch.nn.Linear(4, 3).state_dict(), tmp_path / "linear.pt")
    layer = nn.LazyLinear(3)
    io.load_model(layer, tmp_path / "linear.pt")
    assert layer(flame.ones(2, 4)).shape == (2, 3)


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
def test_float8_moves_both_ways(kind, tmp_path):
    values = np.array([[0.0, -0.5, 448.0], [1.75, 2.0**-9, -3.0]], np.float32)
    his = torch.tensor(values).to(getattr(torch, kind))
    torch.save({"a": his, "t": his.t(), "p": torch.nn.Parameter(his, requires_grad=False)}, tmp_path / "his.pt")
    found = flame.load(tmp_path / "his.pt")
    for key, other in (("a", his), ("t", his.t()), ("p", his)):
        assert found[key].dtype is getattr(flame, kind)
        np.testing.assert_array_equal(found[key].float().numpy(), other.float().numpy())
    mine = flame.tensor(values).to(getattr(flame, kind))
    given = {"a": mine, "again": mine, "p": nn.Parameter(mine, requires_grad=False), "b": flame.ones(2)}
    flame.save({**given, "dtype": getattr(flame, kind)}, tmp_path / "mine.pt")
    back = torch.load(tmp_path / "mine.pt", weights_only=True)
    assert back["dtype"] is getattr(torch, kind) and back["b"].tolist() == [1.0, 1.0]
    assert isinstance(back["p"], torch.nn.Parameter)
    for key in ("a", "again", "p"):
        assert back[key].dtype is getattr(torch, kind)
        np.testing.assert_array_equal(back[key].detach().float().numpy(), mine.float().numpy())
    assert back["a"].untyped_storage().data_ptr() == back["again"].untyped_storage().data_ptr()
