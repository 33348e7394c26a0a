"""The window: its modules and files, and what the tray icon is drawn by, which pystray loads by name."""

import sys

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = ["mapdr", *collect_submodules("mapdr_desktop")]
if sys.platform == "win32":
    hiddenimports.append("pystray._win32")
datas = collect_data_files("mapdr_desktop")
