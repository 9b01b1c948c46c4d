"""Manifests from the local disk, for pyiceberg.

Here: the few methods of pyiceberg's FileIO that reading a manifest needs. Not here: anything else;
pyiceberg's own FileIO loads pyarrow, 50 MB that the server needs for nothing else.
"""

from typing import BinaryIO

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile

from retail_lakehouse.local.warehouse.paths import local_path


class LocalFile(InputFile):
    """One file."""

    def __len__(self) -> int:
        return local_path(self.location).stat().st_size

    def exists(self) -> bool:
        """True when it is there."""
        return local_path(self.location).is_file()

    def open(self, seekable: bool = True) -> InputStream:
        """A stream of its bytes; raises OSError when it is gone."""
        stream: BinaryIO = local_path(self.location).open("rb")
        return stream


class LocalFiles(FileIO):
    """Reads files; writes none."""

    def new_input(self, location: str) -> InputFile:
        """The file at `location`."""
        return LocalFile(location)

    def new_output(self, location: str) -> OutputFile:
        """Raises PermissionError: the warehouse writes no table."""
        raise PermissionError(f"the warehouse writes no file of a table: {location}")

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Raises PermissionError: the warehouse deletes no file of a table."""
        raise PermissionError(f"the warehouse deletes no file of a table: {location}")
