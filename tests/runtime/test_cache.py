"""The disk cache: damage, interruption, directories that cannot be used, and many processes at once."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from flame.config import config
from flame.runtime import cache

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(cache._Fallback, "refused", set())
    monkeypatch.setattr(cache._Fallback, "directory", None)
    with config(cache_dir=tmp_path / "cache"):
        yield tmp_path / "cache"


def entry(kind="cpu", key="key"):
    return cache._entry(config.cache_dir, kind, key)


def test_what_is_put_is_got():
    assert cache.get("cpu", "key") is None
    for data in (b"code", b"", os.urandom(100_000)):
        cache.put("cpu", "key", data)
        assert cache.get("cpu", "key") == data
    assert cache.get("cuda", "key") is None
    assert cache.get("cpu", "other") is None


def test_any_text_is_a_key():
    keys = ["a/../../b", "x" * 5000, "ünïcode", "", ".", "..", "a b"]
    for key in keys:
        cache.put("tune", key, key.encode())
    assert [cache.get("tune", key) for key in keys] == [key.encode() for key in keys]
    assert all(path.parent == entry().parent.parent / "tune" for path in config.cache_dir.rglob("*") if path.is_file())


@pytest.mark.parametrize("cut", [0, 1, 6, 7, 20, 39, 45, 1043])
def test_a_truncated_entry_is_removed(cut):
    cache.put("cpu", "key", os.urandom(1005))
    entry().write_bytes(entry().read_bytes()[:cut])
    assert cache.get("cpu", "key") is None
    assert not entry().exists()
    cache.put("cpu", "key", b"again")
    assert cache.get("cpu", "key") == b"again"


@pytest.mark.parametrize("at", [0, 10, 40, 500, -1])
def test_a_flipped_bit_is_found(at):
    cache.put("cpu", "key", os.urandom(1000))
    data = bytearray(entry().read_bytes())
    data[at] ^= 1
    entry().write_bytes(data)
    assert cache.get("cpu", "key") is None
    assert not entry().exists()


def test_an_entry_in_the_wrong_place_is_damaged():
    cache.put("cpu", "key", b"code")
    entry("cpu", "other").write_bytes(entry().read_bytes())
    assert cache.get("cpu", "other") is None


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("function", ["os.replace", "pathlib.Path.write_bytes"])
def test_an_interrupted_write_leaves_the_old_entry(monkeypatch, function, interruption):
    cache.put("cpu", "key", b"old")

    def interrupted(*arguments):
        if function.endswith("write_bytes"):
            with open(arguments[0], "wb") as file:
                file.write(arguments[1][:5])
        raise interruption

    with monkeypatch.context() as patch:
        patch.setattr(function, interrupted)
        if isinstance(interruption, OSError):
            with pytest.warns(UserWarning, match="No space left"):
                cache.put("cpu", "key", b"new")
        else:
            with pytest.raises(KeyboardInterrupt):
                cache.put("cpu", "key", b"new")
    assert cache.get("cpu", "key") == b"old"
    assert [p.name for p in entry().parent.iterdir()] == ["key"], "no temporary file stays"


def test_a_directory_that_cannot_be_made_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with config(cache_dir=tmp_path / "file" / "cache"):
        with pytest.warns(UserWarning, match="FLAME_CACHE"):
            cache.put("cpu", "key", b"code")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            cache.put("cpu", "second", b"more")
            path = cache.source_file("text", "kernel")
        assert not seen
        assert cache.get("cpu", "key") == b"code"
        assert cache.get("cpu", "second") == b"more"
        assert path.read_text() == "text"
        assert cache.stats().entries == 0
        assert cache.clear() == 0


def test_a_full_temporary_directory_as_well_is_not_fatal(monkeypatch):
    monkeypatch.setattr(
        cache, "_replace", lambda path, data: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.warns(UserWarning, match="No space"):
        cache.put("cpu", "key", b"code")
    assert cache.get("cpu", "key") is None
    assert cache.source_file("text", "kernel").name.startswith("kernel_")


def test_a_read_only_cache_is_still_read(monkeypatch):
    cache.put("cpu", "key", b"code")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        patch.setattr(Path, "unlink", refuse)
        entry("cpu", "damaged").parent.mkdir(parents=True, exist_ok=True)
        assert cache.get("cpu", "key") == b"code"
        with open(entry(), "r+b") as file:
            file.write(b"x")
        assert cache.get("cpu", "key") is None, "it cannot be removed, and is missed"


def test_a_source_file_is_written_once():
    path = cache.source_file("def f(): pass\n", "f")
    before = path.stat()
    assert cache.source_file("def f(): pass\n", "f") == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino
    assert path.suffix == ".py"
    assert path.read_text() == "def f(): pass\n"
    path.write_text("def f(): pa")
    assert cache.source_file("def f(): pass\n", "f").read_text() == "def f(): pass\n", "a damaged one is replaced"
    assert cache.source_file("def f(): return\n", "f") != path


def test_statistics_and_clearing(directory):
    assert cache.stats().all_entries == 0
    cache.put("cpu", "a", b"12345")
    cache.put("cuda", "b", b"1")
    cache.source_file("text", "kernel")
    old = directory / ("0" * len(cache.version())) / "cpu" / "old"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"1234")
    (directory / "notes").mkdir()
    (directory / "notes" / "mine").write_text("the user's own")
    stats = cache.stats()
    assert (stats.entries, stats.bytes) == (3, 5 + 1 + 2 * cache.HEADER + 4)
    assert stats.all_entries == 4
    assert cache.clear() > 0
    assert (directory / "notes" / "mine").exists()
    assert cache.stats().all_entries == 0
    assert cache.get("cpu", "a") is None


def test_the_version_hashes_flames_sources(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setattr(cache, "HOME", tmp_path)
    versions = {cache.version.__wrapped__()}
    (tmp_path / "a.py").write_text("x = 2")
    versions.add(cache.version.__wrapped__())
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "b.py").write_text("")
    versions.add(cache.version.__wrapped__())
    monkeypatch.setattr(cache, "_installed", lambda package: "99")
    versions.add(cache.version.__wrapped__())
    assert len(versions) == 4


HAMMER = """
import os, sys
from flame.runtime import cache
wrong = 0
for i in range(300):
    key = f"key{i % 7}"
    data = cache.get("cpu", key)
    wrong += data is not None and data != key.encode() * 5000
    cache.put("cpu", key, key.encode() * 5000)
    cache.source_file("x = 1\\n", "same")
print(wrong)
"""


def test_many_processes_at_once(directory):
    environment = {**os.environ, "FLAME_CACHE": str(directory), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", HAMMER]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [(p.communicate()[0].strip(), p.returncode) for p in running] == [("0", 0)] * 4
    assert not list(directory.rglob("*.part"))
    assert cache.stats().entries == 8


def test_a_killed_writer_leaves_no_damage(directory):
    loop = HAMMER.replace("range(300)", "range(10**9)").replace("for i", "print('go', flush=True)\nfor i")
    environment = {**os.environ, "FLAME_CACHE": str(directory), "PYTHONPATH": str(ROOT)}
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", loop], env=environment, stdout=subprocess.PIPE)
        process.stdout.readline()
        while not (directory / cache.version() / "cpu").exists():
            pass
        process.kill()
        process.communicate()
        for i in range(7):
            assert cache.get("cpu", f"key{i}") in (None, f"key{i}".encode() * 5000)
