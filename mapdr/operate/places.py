"""Where configurations are, when none is named."""

from __future__ import annotations

from pathlib import Path

import platformdirs

NAME = "mapdr.toml"


def user_folder() -> Path:
    """Where this platform keeps a user's configuration of MAPDR."""
    return platformdirs.user_config_path("mapdr", appauthor=False)


def site_folder() -> Path:
    """Where this platform keeps that of the machine: of a service; on Windows ProgramData."""
    return platformdirs.site_config_path("mapdr", appauthor=False)


def places() -> list[Path]:
    """Where a configuration is looked for when none is named, in order."""
    return [Path(NAME), user_folder() / NAME, site_folder() / NAME]
