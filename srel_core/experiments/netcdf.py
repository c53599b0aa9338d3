"""NetCDF in memory: a dataset to bytes and back, with nothing in the bytes taken on trust.

A file of ours is flat: variables in the root, their values in the file itself. HDF5 can do more:
links and values that lie in other files, groups that hold one another, and chunks never written
that let a few kB ask for any amount of memory. A file that does any of this is none of ours. And
the library may read without end where one bit has flipped. So a file ends in a seal, the SHA-256 of
all before it, and HDF5, which does not look there, gets nothing to read that does not agree.
"""

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import h5py
    import xarray as xr

# Deflate, which our files are compressed with, makes nothing smaller than by 1032.
_MOST_COMPRESSED = 1100
_SEAL = b"\nsrel sha256 "
_LENGTH = len(_SEAL) + hashlib.sha256().digest_size


class Damaged(ValueError):
    """Bytes that are not a whole NetCDF file of ours: why, in one line."""


def require_packages() -> None:
    """ImportError, naming the package, without what files are read and written with."""
    import h5netcdf  # noqa: F401
    import h5py  # noqa: F401
    import xarray  # noqa: F401


def encode(dataset: "xr.Dataset") -> BytesIO:
    """The dataset as a compressed NetCDF file with its seal.

    In memory: HDF5 crashes the process when a disk fills up under a file it has open.
    """
    encoding = {name: {"zlib": True, "complevel": 4} for name in dataset.data_vars}
    whole = BytesIO()
    dataset.to_netcdf(whole, engine="h5netcdf", encoding=encoding)
    return BytesIO(sealed(whole.getvalue()))


def sealed(content: bytes) -> bytes:
    """The content of a file with its seal."""
    return content + _SEAL + hashlib.sha256(content).digest()


def _check_seal(file: BinaryIO) -> None:
    """Damaged where the seal at the end of a file is that of another content. A file without one
    is of an earlier version, or cut short: HDF5 knows the length that a file must have."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _LENGTH))
    seal = file.read()
    file.seek(0)
    if len(seal) == _LENGTH and seal.startswith(_SEAL):
        found, left = hashlib.sha256(), size - _LENGTH
        while left and (part := file.read(min(left, 2**20))):
            found.update(part)
            left -= len(part)
        if found.digest() != seal[len(_SEAL) :]:
            raise Damaged("its checksum is that of another content")
        file.seek(0)


def decode(raw: bytes) -> "xr.Dataset":
    """The dataset, all of it. Damaged if it is not whole, MemoryError without room for it."""
    import h5py
    import xarray as xr

    require_packages()
    _check_seal(BytesIO(raw))
    declared = 8 * len(raw)
    try:
        with h5py.File(BytesIO(raw)) as file:
            declared = _size(file, len(raw))
        # What is called a time in a file of others stays a number.
        return xr.load_dataset(BytesIO(raw), engine="h5netcdf", decode_times=False)
    except ImportError:  # an installation that is not whole
        raise
    except Exception as error:
        # Without room HDF5 fails in as many ways as on a damaged file.
        _require_room(4 * declared)
        raise Damaged(one_line(error)) from error


def root_attributes(file: BinaryIO) -> dict[str, Any]:
    """The attributes of an open file; of nothing else is anything made. Damaged if there are none
    to read, OSError if the system does not read it."""
    import h5py

    _check_seal(file)
    try:
        with h5py.File(file) as opened:
            return {name: _scalar(value) for name, value in opened.attrs.items()}
    except Exception as error:
        _require_room(0)
        _require_readable(file)
        raise Damaged(one_line(error)) from error


def _scalar(value: Any) -> Any:
    """NetCDF keeps a number as a list of one."""
    return value[0] if getattr(value, "shape", None) == (1,) else value


def _size(file: "h5py.File", size: int) -> int:
    """Bytes of the values of all variables. Damaged unless all of them can lie in the file."""
    import h5py

    found = 0
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise Damaged(f"{name} is a link to elsewhere")
        variable = file[name]
        if not isinstance(variable, h5py.Dataset):
            raise Damaged(f"{name} is not a variable")
        if variable.external or variable.is_virtual:
            raise Damaged(f"the values of {name} are in another file")
        found += variable.nbytes
    if found > _MOST_COMPRESSED * size:
        raise Damaged(f"{size} bytes cannot hold the {found:.3g} bytes that they declare")
    return found


def _require_room(declared: int) -> None:
    bytearray(declared + 2**26)


def _require_readable(file: BinaryIO) -> None:
    """What HDF5 makes of an error of the system looks like damage."""
    file.seek(0)
    while file.read(2**20):
        pass


def one_line(error: BaseException) -> str:
    """What an error of the system says; of others the kind too; shortened."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
