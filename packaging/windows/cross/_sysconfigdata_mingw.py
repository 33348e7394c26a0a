"""What `sysconfig` shall say while a Linux CPython builds for Windows: the compiler is mingw's, headers and
import library are those of the CPython in the folder $MAPDR_WINDOWS_PYTHON.

Read by `sysconfig` itself, which is told so by $_PYTHON_SYSCONFIGDATA_NAME.
"""

import os

_PYTHON = os.environ["MAPDR_WINDOWS_PYTHON"]
_GNU = "x86_64-w64-mingw32-"

build_time_vars = {
    "AR": _GNU + "ar",
    "ARFLAGS": "rcs",
    "BASECFLAGS": "",
    "BLDSHARED": _GNU + "gcc -shared",
    "CC": _GNU + "gcc",
    "CCSHARED": "",
    # Without MS_WIN64 the headers take this for 32-bit Windows.
    "CFLAGS": "-O2 -DMS_WIN64 -DNDEBUG",
    "CONFINCLUDEPY": _PYTHON + "/include",
    "CXX": _GNU + "g++",
    "EXT_SUFFIX": ".cp311-win_amd64.pyd",
    "INCLUDEPY": _PYTHON + "/include",
    "LDCXXSHARED": _GNU + "g++ -shared -static -s",
    "LDFLAGS": "",
    "LDLIBRARY": "",
    "LDSHARED": _GNU + "gcc -shared -static-libgcc -s",
    "LDVERSION": "311",  # -lpython311
    "LIBDIR": _PYTHON + "/libs",
    "LIBPL": _PYTHON + "/libs",
    "LIBRARY": "",
    "OPT": "",
    "Py_DEBUG": 0,
    "Py_ENABLE_SHARED": 1,
    "Py_GIL_DISABLED": 0,
    "SHLIB_SUFFIX": ".pyd",
    "SIZEOF_VOID_P": 8,
    "SO": ".pyd",
    "SOABI": "cp311-win_amd64",
    "VERSION": "3.11",
    "exec_prefix": _PYTHON,
    "prefix": _PYTHON,
    "py_version_short": "3.11",
}
