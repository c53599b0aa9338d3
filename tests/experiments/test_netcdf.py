"""Files of results as bytes: nothing is made of one that is not as it was written."""

import h5py
import pytest
import xarray as xr

from srel_core.experiments import result_files
from srel_core.experiments.result_files import DamagedError
from tests.support.forgeries import HOSTILE, altered
from tests.support.results import flipped, small_result


@pytest.fixture
def path(tmp_path):
    result_files.save(small_result(), tmp_path / "small.nc")
    return tmp_path / "small.nc"


READ = (result_files.load, result_files.attributes)


def test_nothing_reads_a_file_that_is_not_as_its_seal_says(path, monkeypatch):
    """HDF5 has read on without end where one bit had flipped."""
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("read by HDF5"))
    content, seal = path.read_bytes()[:-45], path.read_bytes()[-45:]
    for _, changed in flipped(content, 30):
        path.write_bytes(changed + seal)
        for reading in READ:
            with pytest.raises(DamagedError, match="checksum is that of another content"):
                reading(path)


def test_without_a_whole_seal_the_digest_decides(path):
    """As for files of earlier versions."""
    content, whole = path.read_bytes(), result_files.load(path)
    for length in (0, 1, 44, 45):
        path.write_bytes(content[: len(content) - length])
        assert result_files.load(path).identical(whole)
    path.write_bytes(content[:-45][:-1])
    for reading in READ:
        with pytest.raises(DamagedError, match="truncated"):
            reading(path)


def test_others_read_a_sealed_file(path):
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        assert opened.load().drop_attrs().identical(result_files.load(path).drop_attrs())


@pytest.mark.parametrize(("add", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_values_that_are_not_in_the_file_are_refused(path, add, said):
    (path.parent / "values.raw").write_bytes(bytes(24))
    altered(path, add)
    with pytest.raises(DamagedError, match=said):
        result_files.load(path)
    assert result_files.attributes(path)["kind"] == "small"  # read without the values
