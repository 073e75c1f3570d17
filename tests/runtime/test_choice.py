"""Choosing among ways without a GPU: what is remembered, pinned, retried and refused."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from flame.config import config
from flame.errors import ConfigError, DeviceError, OutOfMemoryError
from flame.runtime import cache, choice, cuda
from flame.runtime.choice import Choice, DeclinedError, Place, Way


@dataclass(frozen=True)
class Spec:
    m: int


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A place whose clock says what each way's name says: `takes 3` takes 3 milliseconds."""
    monkeypatch.setattr(choice, "_known", {})
    monkeypatch.setattr(cuda, "device", lambda ordinal: SimpleNamespace(name="a card"))

    def timed(place, ways, sizes, fills):
        assert sizes == [8, 8]
        if any("too large" in w.name for w in ways):
            raise OutOfMemoryError("no memory")
        return {w.name: float(w.name.split()[1]) for w in ways}

    monkeypatch.setattr(choice, "timed", timed)
    with config(cache_dir=tmp_path):
        yield Place("cuda:0", 0, SimpleNamespace(), SimpleNamespace())


def ways(*names: str) -> list[Way]:
    return [Way(name, lambda *_: None) for name in names]


def test_the_fastest_is_taken_and_remembered_on_disk(place: Place, monkeypatch) -> None:
    way = choice.choose(place, "matmul", Spec(1), "v1", ways("takes 3", "takes 1", "takes 2"), [8, 8])
    assert way.name == "takes 1"
    monkeypatch.setattr(choice, "_known", {})
    again = choice.remembered(place, "matmul", Spec(1), "v1")
    assert again == Choice("takes 1", {"takes 3": 3.0, "takes 1": 1.0, "takes 2": 2.0})
    assert choice.known(Spec(1)) == {("cuda:0", "matmul"): again}
    monkeypatch.setattr(choice, "_known", {})
    assert choice.remembered(place, "matmul", Spec(1), "v2") is None, "another version of the library"
    assert choice.remembered(place, "matmul", Spec(2), "v1") is None
    assert choice.remembered(place, "attention", Spec(1), "v1") is None


def test_a_damaged_entry_is_timed_again(place: Place, monkeypatch, tmp_path) -> None:
    choice.choose(place, "matmul", Spec(1), "v1", ways("takes 3", "takes 1"), [8, 8])
    for path in tmp_path.glob("*/choice/*"):
        path.write_bytes(b"junk")
    monkeypatch.setattr(choice, "_known", {})
    assert choice.remembered(place, "matmul", Spec(1), "v1") is None
    assert cache.get("choice", choice._key(place, "matmul", Spec(1), "v1")) is None


def test_nothing_is_timed_where_it_is_not_wanted(place: Place) -> None:
    with config(choices="first"):
        assert choice.choose(place, "matmul", Spec(1), "v1", ways("takes 3", "takes 1"), [8, 8]).name == "takes 3"
    assert choice.choose(place, "matmul", Spec(2), "v1", ways("takes 5"), [8, 8]).name == "takes 5"
    assert choice.choose(place, "matmul", Spec(3), "v1", ways("too large", "takes 1"), [8, 8]).name == "too large"
    assert choice.remembered(place, "matmul", Spec(3), "v1").why.startswith("the library's first")


def test_without_a_way_the_spec_is_declined(place: Place, monkeypatch) -> None:
    with pytest.raises(DeclinedError, match="no library has an algorithm") as caught:
        choice.choose(place, "matmul", Spec(1), "v1", [], [8, 8])
    assert caught.value.spec == Spec(1)
    assert isinstance(caught.value, DeviceError)
    monkeypatch.setattr(choice, "timed", lambda place, ways, sizes, fills: {})
    with pytest.raises(DeclinedError, match="none of .'fails'. runs"):
        choice.choose(place, "matmul", Spec(1), "v1", ways("fails"), [8, 8])


def test_a_table_is_what_the_dump_shows_and_pins(place: Place, tmp_path) -> None:
    made = Choice("fast", {"slow": 2.0, "fast": 1.0})
    table = tmp_path / "table.txt"
    table.write_text(
        f"# program 1 of 1\nmatmul {Spec(1)}\n{made.text()}\n\nargsort {Spec(2)}\n    # nothing to choose\n"
    )
    assert choice.parsed(table.read_text()) == {"matmul Spec(m=1)": "fast"}
    with config(choices=str(table)):
        assert choice.remembered(place, "matmul", Spec(1), "v1") == Choice("fast", why=f"pinned by {table}")
        assert choice.remembered(place, "argsort", Spec(2), "v1") is None
    with config(choices=str(tmp_path / "none")), pytest.raises(ConfigError, match="cannot be read"):
        choice.remembered(place, "matmul", Spec(1), "v1")


def test_a_choice_survives_json() -> None:
    made = Choice("a", {"a": 0.25})
    assert Choice(**json.loads(json.dumps({"best": made.best, "times": made.times, "why": made.why}))) == made
