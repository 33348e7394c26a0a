"""The page: its modules, and the files that it serves."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = collect_submodules("mapdr_web")
datas = collect_data_files("mapdr_web")
