"""Knobs: typed, scoped, with errors that say what is allowed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flame.config import KNOBS, PROCESS, config, load_environment
from flame.errors import ConfigError

DOCS = Path(__file__).resolve().parent.parent / "docs" / "config.md"


@pytest.fixture(autouse=True)
def process_values_restored():
    saved = dict(PROCESS)
    yield
    PROCESS.update(saved)


def import_with(**environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLAME_")}
    code = "from flame.config import config; print(config.threads, sorted(config.show), config.cache_dir)"
    return subprocess.run([sys.executable, "-c", code], env={**clean, **environment}, capture_output=True, text=True)


def test_the_environment_is_read_at_import():
    done = import_with(FLAME_THREADS="3", FLAME_SHOW="plan, source", FLAME_CACHE="/tmp/elsewhere")
    assert done.stdout.strip() == "3 ['plan', 'source'] /tmp/elsewhere", done.stderr


def test_a_bad_value_names_the_variable_the_value_and_what_is_allowed():
    done = import_with(FLAME_THREADS="many")
    assert done.returncode != 0
    assert "ConfigError: environment variable FLAME_THREADS is 'many': use a whole number, 1 or more" in done.stderr


def test_a_misspelt_variable_is_pointed_out():
    assert "did you mean FLAME_VALIDATE?" in import_with(FLAME_VALIDTE="1").stderr
    assert "did you mean FLAME_CACHE?" in import_with(FLAME_CACHE_DIR="1").stderr
    assert import_with(FLAME_OF_LOVE="1").stderr == ""


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_variable_is_an_unset_one(text: str):
    assert import_with(FLAME_THREADS=text).returncode == 0


def test_a_scope_changes_and_restores():
    with config(validate=True, show="plan"):
        assert config.validate is True
        assert config.show == {"plan"}
        with config(validate="off"):
            assert config.validate is False
            assert config.show == {"plan"}
        assert config.validate is True
    assert config.validate is False
    assert config.show == frozenset()


def test_a_scope_ends_with_an_exception_and_may_be_entered_again():
    scope = config(fuse=False)
    for _ in range(2):
        with pytest.raises(KeyError), scope:
            assert config.fuse is False
            raise KeyError
        assert config.fuse is True


def test_a_scope_decorates_a_function():
    @config(threads=7)
    def threads():
        return config.threads

    assert threads() == 7
    assert config.threads != 7


def test_a_scope_is_its_threads_own_and_an_assignment_everybodys():
    seen = []
    with config(threads=5):
        thread = threading.Thread(target=lambda: seen.append(config.threads))
        thread.start()
        thread.join()
    config.threads = 6
    thread = threading.Thread(target=lambda: seen.append(config.threads))
    thread.start()
    thread.join()
    assert seen[0] != 5
    assert seen[1] == 6


@pytest.mark.parametrize("bad", [{"show": "pln"}, {"show": 3}, {"threads": 0}, {"threads": 2.5}, {"threads": True},
                                 {"device": "gpu"}, {"device": "cuda:x"}, {"memory_limit": "8Q"}, {"memory_limit": -1},
                                 {"validate": "perhaps"}, {"cache_dir": 3}, {"pending_limit": -1}])  # fmt: skip
def test_a_wrong_value_raises_and_changes_nothing(bad: dict):
    ((name, value),) = bad.items()
    before = getattr(config, name)
    with pytest.raises(ConfigError, match=f"config\\({name}=...\\) is {value!r}"):
        config(**bad)
    with pytest.raises(ConfigError, match=f"config.{name} is"):
        setattr(config, name, value)
    assert getattr(config, name) == before


def test_a_name_that_is_no_knob_raises():
    with pytest.raises(ConfigError, match="valdate is no knob of FLAME; did you mean validate"):
        config(valdate=True)
    with pytest.raises(AttributeError, match="did you mean threads"):
        _ = config.thread
    with pytest.raises(AttributeError):
        config.thread = 3


@pytest.mark.parametrize(
    ("value", "number"),
    [("1000", 1000), ("8GiB", 8 * 2**30), ("1.5 GB", 1_500_000_000), ("512mb", 512_000_000), (7, 7), (None, None)],
)
def test_bytes_are_read_with_units(value: object, number: int | None):
    with config(memory_limit=value):
        assert config.memory_limit == number


def test_the_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    load_environment({})
    assert config.cache_dir == Path("/xdg/flame")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the XDG standard says: ignore
    monkeypatch.setenv("HOME", "/home/somebody")
    load_environment({})
    assert config.cache_dir == Path("/home/somebody/.cache/flame")
    load_environment({"FLAME_CACHE": "~/kernels"})
    assert config.cache_dir == Path("/home/somebody/kernels")


def test_describe_and_docs_tell_of_every_knob():
    rows = config.describe()
    assert [row.name for row in rows] == list(KNOBS)
    page = DOCS.read_text()
    for row in rows:
        assert f"| `{row.variable}` | `{row.name}` |" in page, f"docs/config.md lacks a row for {row.variable}"
        assert row.doc in page, f"docs/config.md does not say of {row.variable}: {row.doc}"
