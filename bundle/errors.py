"""What can be wrong with a bundle or with one picture. Every message names the thing, the limit and the remedy.

BundleError           a folder breaks the contract
  BundleInvalid         what is there is wrong: a digest, a field, a file that the manifest names
  BundleNotFound        there is no published version at the path
  PublishError          a version could not be written; nothing of it is visible
ImageError            the bytes of one picture can't be used; never the fault of the other pictures
  ImageUndecodable      truncated, garbage, empty, or a format that is not read
  ImageTooLarge         over a limit on bytes, pixels or sides, found before anything is decoded
"""

from pathlib import Path


class BundleError(Exception):
    """A folder breaks the bundle's contract."""


class BundleInvalid(BundleError):
    """What stands in the folder is wrong."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"bundle {path}: {problem}")
        self.path = path
        self.problem = problem


class BundleNotFound(BundleError):
    """There is no published version at the path."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class PublishError(BundleError):
    """A version could not be written; nothing of it is visible."""


class ImageError(Exception):
    """The bytes of one picture can't be used."""


class ImageUndecodable(ImageError):
    """Truncated, garbage, empty, or of a format that is not read."""


class ImageTooLarge(ImageError):
    """Over a limit on bytes, pixels or sides."""
