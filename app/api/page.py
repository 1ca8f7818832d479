"""The files of the page and of the API's documentation, from the package."""

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
        self._files: dict[str, tuple[int, PageFile]] = {}

    def ready(self, name: str) -> PageFile | None:
        """A file that has been read, unless it was edited since."""
        changed, file = self._files.get(name, (0, None))
        return file if file is not None and self._paths[name].stat().st_mtime_ns == changed else None

    def read(self, name: str) -> PageFile | None:
        """A file by its path within the folder, which takes up to 0.1 s for the largest; None if there is none."""
        path = self._paths.get(name)
        if path is None:
            return None
        changed = path.stat().st_mtime_ns
        self._files[name] = changed, _read(path)
        return self._files[name][1]


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    media_type = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    packed = gzip.compress(content, 6, mtime=0) if len(content) >= SMALLEST_PACKED else None
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    return PageFile(content, packed, media_type, tag)
