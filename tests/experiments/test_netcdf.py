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


def test_nothing_reads_a_file_whose_seal_is_broken(path, monkeypatch):
    """HDF5 has read on without end where one bit had flipped."""
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("read by HDF5"))
    content = path.read_bytes()
    for _, changed in flipped(content, 30):
        path.write_bytes(changed)
        for reading in (result_files.load, result_files.attributes):
            with pytest.raises(DamagedError, match="checksum"):
                reading(path)
    for length in (0, 1, 44, 45, 46, len(content) - 1):
        path.write_bytes(content[:length])
        for reading in (result_files.load, result_files.attributes):
            with pytest.raises(DamagedError, match="checksum"):
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
