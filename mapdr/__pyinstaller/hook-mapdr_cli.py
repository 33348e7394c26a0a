"""The commands, each of which is loaded when it is asked for."""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = ["mapdr", *collect_submodules("mapdr_cli")]
