"""A result file vouches for its content, and for being the result that was asked for."""

import contextlib
import errno
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from srel_core.experiments import digest, netcdf, result_files
from srel_core.experiments.result_files import DamagedError, NoDigestError, ResultError
from tests.support.results import CONFIG, EXPECTED, flipped, names, small_result


@pytest.fixture
def path(tmp_path):
    """Of a result that is kept."""
    path = tmp_path / "small.nc"
    result_files.save(small_result(), path, EXPECTED)
    return path


def write_without_digest(dataset, path):
    path.write_bytes(netcdf.encode(dataset).getvalue())


def test_a_result_comes_back_as_it_was(path):
    assert result_files.load(path).identical(small_result())
    assert result_files.load_kept(path, EXPECTED).identical(small_result())
    assert names(path.parent) == ["small.nc"]


CHANGES = {
    "a value's last bit": lambda d: d.change.values.view(np.int64).__setitem__((0, 1), 1),
    "a sign of zero": lambda d: d.ratio.values.__setitem__((1, 1), 0.0),
    "a number that became NaN": lambda d: d.ratio.values.__setitem__((0, 0), np.nan),
    "a label": lambda d: d.label.values.__setitem__(0, 65),
    "a truth": lambda d: d.moved.values.__setitem__(0, False),
    "a name on an axis": lambda d: d.part.values.__setitem__(0, "A"),
    "an attribute": lambda d: d.attrs.update(commit="nome"),
    "a number in an attribute": lambda d: d.attrs.update(level=3),
    "a new attribute": lambda d: d.attrs.update(verified_on="today"),
    "what a variable is": lambda d: d.change.attrs.update(long_name="ein Mass"),
    "a step": lambda d: d.__setitem__("step", [1, 2, 4]),
    "a dimension": lambda d: d.__setitem__("label", ("rule", [1, 0])),
    "a type": lambda d: d.__setitem__("label", d.label.astype("int32")),
    "a role": lambda d: d.__setitem__("part", ("step", ["a", "", "b"])),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_digest_sees_every_change(path, change):
    changed = small_result()
    if change is CHANGES["a role"]:
        changed = changed.reset_coords("part")
    else:
        change(changed)
    stored = netcdf.decode(path.read_bytes()).attrs[digest.ATTRIBUTE]
    assert stored == digest.of_dataset(small_result()) != digest.of_dataset(changed)
    write_without_digest(changed.assign_attrs({digest.ATTRIBUTE: stored}), path)
    with pytest.raises(DamagedError, match=r"small\.nc is damaged: its content is not that of its"):
        result_files.load(path)
    with pytest.warns(UserWarning, match=r"set aside as small\.nc\.damaged, computing anew"):
        assert result_files.load_kept(path, EXPECTED) is None


def test_flipped_bits_are_refused_or_change_nothing(path):
    whole, refused = result_files.load(path), 0
    for bit, changed in flipped(path.read_bytes(), 150):
        path.write_bytes(changed)
        try:
            assert result_files.load(path).identical(whole), bit
        except DamagedError:
            refused += 1
    assert refused > 20


def test_saving_again_renews_the_digest(path):
    stamped = result_files.load(path).assign_attrs(verified_on="today")
    result_files.save(stamped, path)
    assert result_files.load(path).identical(stamped)
    opened = xr.load_dataset(path, engine="h5netcdf")  # with the former digest among its attributes
    result_files.save(opened.assign_attrs(verified_on="tomorrow"), path)
    assert result_files.load(path).attrs["verified_on"] == "tomorrow"


def test_a_file_of_an_earlier_version_is_loaded_where_no_digest_is_needed(path):
    write_without_digest(small_result(), path)
    assert result_files.load(path, needs_digest=False).identical(small_result())
    with pytest.raises(NoDigestError, match=r"small\.nc has no digest, .*compute it anew"):
        result_files.load(path)
    with pytest.warns(UserWarning, match=r"has no digest.*set aside as small\.nc\.damaged"):
        assert result_files.load_kept(path, EXPECTED) is None


OTHERS = {
    "kind": (lambda d: d.assign_attrs(kind="other"), "its kind is other, not small"),
    "code": (lambda d: d.assign_attrs(code_digest="old"), "its code_digest is old, not code"),
    "seed": (
        lambda d: d.assign_attrs(config=CONFIG.replace('"seed": 0', '"seed": 1')),
        "its config differs: seed is 1, not 0",
    ),
    "no config": (lambda d: d.assign_attrs(config="{"), "its config differs: { is none"),
    "missing": (lambda d: d.drop_vars("label"), "the variable label is missing"),
    "more": (lambda d: d.assign(more=1), "the variable more is new"),
    "type": (lambda d: d.assign(label=d.label * 1.0), r"label is float64 .*, not int64"),
    "dimensions": (lambda d: d.transpose(), r"change is float64 \('rule', 'step'\), not float64"),
    "one NaN": (lambda d: d.assign(change=d.change.where(d.step > 1)), "change holds NaN or"),
    "all NaN": (lambda d: d.assign(ratio=d.ratio * np.nan), "ratio holds no finite values"),
    "steps": (lambda d: d.assign_coords(step=[1, 2, 4]), "the coordinate step is not"),
    "rules": (lambda d: d.drop_vars("rule"), "the coordinate rule is not"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), OTHERS.values(), ids=OTHERS.keys())
def test_what_is_not_the_result_that_is_asked_for_is_set_aside(path, change, said):
    other = change(small_result())
    result_files.save(other, path)
    with pytest.warns(UserWarning, match=f"is not the result of this experiment .{said}") as caught:
        assert result_files.load_kept(path, EXPECTED) is None
    assert "\n" not in str(caught[0].message) and str(path) in str(caught[0].message)
    assert result_files.load(path.with_name("small.nc.damaged")).identical(other)
    with pytest.raises(ResultError, match=rf"small\.nc is not written, .*: {said}"):
        result_files.save(other, path, EXPECTED)
    assert names(path.parent) == ["small.nc.damaged"]


def test_a_file_that_cannot_be_read_is_left_as_it_is(path):
    """Its content may be whole: /proc/self/mem gives a real input/output error."""
    if not Path("/proc/self/mem").exists():
        path.chmod(0)
    else:
        path.unlink()
        path.symlink_to("/proc/self/mem")
    for ask in (result_files.load, lambda p: result_files.load_kept(p, EXPECTED)):
        with pytest.raises(ResultError, match=r"cannot read .*small\.nc .*: it stays") as caught:
            ask(path)
        assert type(caught.value) is ResultError
    assert names(path.parent) == ["small.nc"]


ASKS = {
    "load": result_files.load,
    "load_kept": lambda path: result_files.load_kept(path, EXPECTED),
    "attributes": result_files.attributes,
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("where", ["open", "stat"])
def test_whatever_the_system_refuses_a_whole_file_is_not_called_damaged(
    path, ask, number, where, monkeypatch
):
    """As with mode 000, for the file or its folder: root, who may run the tests, may read all."""
    was = getattr(Path, where)

    def refused(asked, *arguments, **options):
        if asked == path:
            raise OSError(number, os.strerror(number), str(path))
        return was(asked, *arguments, **options)

    monkeypatch.setattr(Path, where, refused)
    with pytest.raises(ResultError) as caught:
        ask(path)
    monkeypatch.undo()
    assert str(caught.value).startswith(f"cannot read {path} ({os.strerror(number)}): it stays")
    assert type(caught.value) is ResultError and names(path.parent) == ["small.nc"]
    assert result_files.load(path).identical(small_result())


@pytest.mark.parametrize("after", [0, 1, 4])
def test_an_error_of_the_disk_half_way_through_a_header_is_no_damage(path, after, monkeypatch):
    class Bad(BytesIO):
        reads = 0

        def readinto(self, buffer):
            self.reads += 1
            if self.reads > after:
                raise OSError(errno.EIO, "Input/output error")
            return super().readinto(buffer)

        def read(self, *_):
            raise OSError(errno.EIO, "Input/output error")

    raw = path.read_bytes()
    monkeypatch.setattr(Path, "open", lambda *_, **__: Bad(raw))
    with pytest.raises(ResultError, match=r"cannot read .*small\.nc \(Input/output error\)"):
        result_files.attributes(path)


@pytest.mark.parametrize("package", ["h5py", "h5netcdf", "xarray"])
def test_without_a_package_it_is_named_before_any_work_and_no_file_is_touched(
    path, package, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    for asked in (path, path.with_name("absent.nc")):
        with pytest.raises(ModuleNotFoundError, match=package):
            result_files.load_kept(asked, EXPECTED)
    with pytest.raises(ModuleNotFoundError, match=package):
        result_files.load(path)
    assert names(path.parent) == ["small.nc"]


def test_an_installation_that_is_not_whole_is_no_damage(path, monkeypatch):
    def broken(*_, **__):
        raise ImportError("libhdf5.so: undefined symbol")

    monkeypatch.setattr(xr, "load_dataset", broken)
    with pytest.raises(ImportError, match="undefined symbol"):
        result_files.load_kept(path, EXPECTED)
    assert names(path.parent) == ["small.nc"]


@pytest.mark.parametrize("units", ["days since 0001-01-01", "seconds", "months since 1e9-99-99"])
def test_what_is_called_a_time_stays_a_number(path, units):
    timed = small_result()
    timed.label.attrs["units"] = units
    result_files.save(timed, path)
    assert result_files.load(path).identical(timed)


def test_without_memory_a_whole_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "large.nc"
    draws = np.random.default_rng(0).random((3_000_000, 2))
    result_files.save(small_result().assign(much=(("a", "rule"), draws)), path)
    script = f"""
import resource, sys
from pathlib import Path
import h5py, xarray, h5netcdf
from srel_core.experiments import result_files
from tests.support.results import EXPECTED, small_result
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 90_000_000, -1))
try:
    result_files.load_kept(Path({str(path)!r}), EXPECTED)
except result_files.ResultError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert f"cannot read {path} (not enough memory): it stays as it is" in done.stdout, done.stderr
    assert names(tmp_path) == ["large.nc"]


@pytest.mark.parametrize("thing", ["folder", "pipe"])
def test_what_is_no_file_is_left_as_it_is(tmp_path, thing):
    path = tmp_path / "small.nc"
    path.mkdir() if thing == "folder" else os.mkfifo(path)
    for ask in (result_files.load, result_files.attributes):
        with pytest.raises(ResultError, match=r"small\.nc is not a file: it stays as it is"):
            ask(path)
    with pytest.raises(ResultError, match="is not a file"):
        result_files.load_kept(path, EXPECTED)
    assert names(tmp_path) == ["small.nc"]


def test_a_rename_that_fails_says_so(path, monkeypatch):
    path.write_text("junk")

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(ResultError, match=r"small\.nc .* cannot be renamed to small\.nc\.damaged"):
        result_files.load_kept(path, EXPECTED)
    with pytest.raises(ResultError, match="it cannot be put in place .*nothing was") as caught:
        result_files.save(small_result(), path)
    assert "make room" not in str(caught.value)
    assert names(path.parent) == ["small.nc"]


def test_a_place_for_results_that_cannot_be_told(monkeypatch, tmp_path):
    monkeypatch.delenv("SREL_RESULTS", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(
        Path, "expanduser", lambda _: (_ for _ in ()).throw(RuntimeError("no home"))
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultError, match=r"no place for results \(no home\): name a folder with"):
        result_files.results_dir()
    gone = tmp_path / "gone"
    gone.mkdir()
    with contextlib.chdir(gone):
        gone.rmdir()
        with pytest.raises(ResultError, match="no place for results"):
            result_files.results_dir()


def test_names_in_messages_obey_nothing(tmp_path):
    path = tmp_path / "\x1b[31m\n.nc"
    path.write_text("junk")
    with pytest.raises(ResultError) as caught:
        result_files.load(path)
    assert r"\x1b[31m\n.nc is damaged" in str(caught.value) and str(caught.value).isprintable()
