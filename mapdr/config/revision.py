"""Configurations that images were received under, kept by hash: `revisions/<hash>.toml` in the data folder.

Recovery routes an image that was not yet indexed by the rules of the revision that its file names (design,
decision 2). The text is the canonical one, so layout and comments make no new revision.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mapdr.config.read import Loaded, read_text
from mapdr.kernel.durable import sync_folder, write_durably
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.permissions import make_private
from mapdr.kernel.registry import Registry


def keep_revision(data: Path, loaded: Loaded) -> Path:
    """Write the revision durably unless it is there; its file. Raises OSError, or ConfigurationError for a
    configuration with problems."""
    if loaded.config is None or loaded.problems:
        raise ConfigurationError(f"{loaded.file} has problems and cannot be kept; correct them first")
    folder = data / "revisions"
    path = folder / f"{loaded.revision}.toml"
    if not path.exists():
        make_private(folder)
        write_durably(path, loaded.canonical.encode())
    # Images that name it are answered Success from now on; who has made it may have been killed before this.
    sync_folder(folder)
    sync_folder(data)
    return path


def read_revision(
    data: Path,
    revision: str,
    registry: Registry | None = None,
    *,
    base: Path = Path(),
    rules: bool = True,
) -> Loaded:
    """The configuration of a kept revision, `rules` as for `read`.

    Raises ConfigurationError if it is not there or was changed.
    """
    path = data / "revisions" / f"{revision}.toml"
    if not revision.isalnum() or not path.is_file():
        raise ConfigurationError("the configuration revision is not among those kept in the data folder")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != revision:
        raise ConfigurationError(f"revisions/{path.name} was changed after it was kept")
    return read_text(content.decode(), registry, file=path.name, base=base, rules=rules)
