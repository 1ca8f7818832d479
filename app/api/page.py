"""The files of the page and of the API's documentation, from the package, read once."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "dashboard"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
SMALLEST_PACKED = 1_000  # bytes; packing less saves no packet


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as it is sent.  packed: the same in gzip, if that is shorter."""

    content: bytes
    packed: bytes | None
    media_type: str
    tag: str


class PageFiles:
    """All files of the page; what is not in the folder is not served, whatever the name says."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        self._files: dict[str, PageFile] = {}

    def has(self, name: str) -> bool:
        """Whether the file has been read already."""
        return name in self._files

    def get(self, name: str) -> PageFile | None:
        """A file by its path within the folder.  Reads it the first time, which takes up to 0.1 s for the largest."""
        if name not in self._files and name in self._paths:
            self._files[name] = _read(self._paths[name])
        return self._files.get(name)


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    media_type = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    packed = gzip.compress(content, 6, mtime=0) if len(content) >= SMALLEST_PACKED else None
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    return PageFile(content, packed, media_type, tag)
