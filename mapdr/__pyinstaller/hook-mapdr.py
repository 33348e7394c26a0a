"""What `mapdr` loads by name: stages of the registry, hot paths, the page, codecs, SQLite, pywin32."""

import sys
from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

from mapdr.__pyinstaller import CODECS

hiddenimports = [
    *collect_submodules("mapdr", filter=lambda name: not name.startswith("mapdr.__pyinstaller")),
    *(f"imagecodecs.{name}" for name in CODECS),
    "sqlalchemy.dialects.sqlite",
]
if find_spec("mapdr_web"):
    hiddenimports.append("mapdr_web")
if sys.platform == "win32" and find_spec("win32service"):
    hiddenimports += ["servicemanager", "win32service", "win32timezone"]
    hiddenimports += ["win32api", "win32file", "win32pipe", "win32security"]

# Entry points and versions, which `mapdr doctor` and `mapdr selftest` look up.
datas = copy_metadata("mapdr", recursive=True)
# Tables that are read as files.
datas += collect_data_files("mapdr", includes=["dicom/deidentify/*.csv", "transform/pixels/*.toml"])
