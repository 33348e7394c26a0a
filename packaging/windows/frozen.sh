# shellcheck shell=bash
# What verify.sh does with the frozen programs and the installer; it is sourced there, and uses its functions.

# What a vendor gives away: a build for a key that is made here and thrown away.
build_for_vendor() {
    local told
    export MAPDR_VENDOR_PASSWORD=of-a-key-that-is-thrown-away
    told=$(PYTHONPATH="$work/source/packaging/vendor" "$host/python" -c 'from mapdr_vendor import main; main()' \
        new-key --key "$work/vendor.pem") || return 1
    build_wheel "$work/dist-vendor" "$told" || return 1
    vendor_wheel=$(echo "$work"/dist-vendor/mapdr-*-cp311-cp311-win_amd64.whl)
    unzip -l "$vendor_wheel" | grep 'mapdr/license/_gate\..*pyd' >/dev/null || { say "the vendor's wheel has no gate"; return 1; }
    say "a vendor's wheel: $(basename "$vendor_wheel"), with its gate"
}

# The vendor's wheel, frozen under wine by Windows' own CPython, and looked at.
freeze() {
    build_for_vendor || return 1
    say "freezing: this takes some minutes"
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$(windows_path "$cache/wheels") win "$work/python/python.exe" \
        "$(windows_path "$work/source/packaging/freeze.py")" "$(windows_path "$vendor_wheel")" "$(windows_path "$work/frozen")" \
        >"$work/freeze.log" || { tail -40 "$work/freeze.log"; return 1; }
    dist=$work/frozen/dist
    release=$(unzip -p "$vendor_wheel" '*.dist-info/METADATA' | sed -n 's/^Version: //p' | tr -d '\r')
    seen=$("$host/python" "$here/check_frozen.py" "$dist" "$release") || { echo "$seen"; return 1; }
    say "frozen: $seen"
}

# Both programs where no Python is, nor was.
try_programs() {
    local program name began
    for program in "$programs/MAPDR/mapdr.exe" "$programs/mapdr.exe"; do
        name=${program#"$programs/"}
        win "$program" --version >/dev/null || { say "$name does not start"; return 1; }
        began=$(date +%s%N)
        seen=$(win "$program" --version) || return 1
        say "$name: ${seen%$'\r'}, in $((($(date +%s%N) - began) / 1000000)) ms (its second start, under wine)"
        seen=$(win "$program" selftest) || { echo "$seen"; say "$name: selftest failed"; return 1; }
        say "$name selftest: $(tail -n 1 <<<"$seen" | tr -d '\r')"
        seen=$(win "$program" demo --seconds 10 --plain) || { echo "$seen"; say "$name: the demo failed"; return 1; }
        say "$name demo: $(tail -n 1 <<<"$seen" | tr -d '\r')"
    done
}

# A license of the vendor whose key the build has: asked for, issued, installed, expired, moved, renewed.
try_license() {
    env PYTHONPATH="$work/source/tests:$work/source/packaging/vendor" "$host/python" "$here/check_license.py" \
        "$programs/MAPDR/mapdr.exe" "$work/licensed" "$work/vendor.pem" || return 1
}

# Installed without a question, routed with, replaced by itself, and removed: what it leaves, and what it keeps.
try_installer() {
    local setup=$work/mapdr-setup.exe drive=$WINEPREFIX/drive_c ended port
    makensis -V2 "-DVERSION=$release" "-DDIST=$dist" "-DSOURCES=$work/source/packaging" "-DOUT=$setup" \
        "$here/installer.nsi" >"$work/nsis.log" || { cat "$work/nsis.log"; return 1; }
    local bytes
    bytes=$(stat -c %s "$setup")
    [ "$bytes" -lt 60000000 ] || { say "the installer has $bytes bytes"; return 1; }
    say "installer: $((bytes / 1000000)) MB"

    port=$("$host/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    win "$setup" /S "/TO=pacs=PACS@127.0.0.1:104" /AE=WINE "/PORT=$port"
    ended=$?
    # wine's service manager does not know all that the service is told (packaging/README.md), and Debian's wine has
    # neither `net localgroup` nor a firewall: then it ends with 3, and the program is there.
    [ $ended = 0 ] || [ $ended = 3 ] || { say "the installer ended with $ended"; return 1; }
    local program="$drive/Program Files/MAPDR/program/mapdr.exe" config=$drive/ProgramData/MAPDR/mapdr.toml
    [ -f "$program" ] && [ -f "$config" ] && grep -q "$port" "$config" && [ -s "$drive/Program Files/MAPDR/licenses/THIRD-PARTY.txt" ] \
        || { say "the installer left something out"; find "$drive/Program Files/MAPDR" "$drive/ProgramData/MAPDR" -maxdepth 2; return 1; }
    win "$program" check --config 'C:\ProgramData\MAPDR\mapdr.toml' >"$work/check.log" || { cat "$work/check.log"; return 1; }
    say "installed silently (status $ended): the program starts, its configuration is sound"

    echo "# kept" >>"$config"
    echo old >"$drive/Program Files/MAPDR/program/old.txt"
    win "$setup" /S
    ended=$?
    [ $ended = 0 ] || [ $ended = 3 ] || { say "the upgrade ended with $ended"; return 1; }
    [ ! -e "$drive/Program Files/MAPDR/program/old.txt" ] && [ -e "$drive/Program Files/MAPDR/previous/old.txt" ] && grep -q '^# kept' "$config" \
        || { say "the upgrade did not replace the program, or did not keep the rest"; return 1; }
    say "upgraded in place (status $ended): the old program is beside, the configuration as it was"

    # _?= has it run in place, not from a copy that is not waited for; then it cannot remove itself.
    win "$drive/Program Files/MAPDR/uninstall.exe" /S '_?=C:\Program Files\MAPDR' || { say "it cannot be removed"; return 1; }
    [ ! -e "$drive/Program Files/MAPDR/program" ] && [ -f "$config" ] || { say "removing left the program, or took the data"; return 1; }
    win "$setup" /S >/dev/null
    win "$drive/Program Files/MAPDR/uninstall.exe" /S /DATA '_?=C:\Program Files\MAPDR' || { say "it cannot be removed"; return 1; }
    [ ! -e "$drive/ProgramData/MAPDR" ] || { say "removing with /DATA left the data"; return 1; }
    say "removed: configuration and data stay, and go with /DATA"
}

# In a clean prefix, out of sight of the CPython that froze them.
try_frozen() {
    local status=0
    freeze || return 1
    programs=$work/programs
    mkdir "$programs" && cp -r "$dist/MAPDR" "$dist/mapdr.exe" "$programs" || return 1
    wineserver -k
    wineserver -w
    make_prefix "$work/clean" || return 1
    mv "$work/python" "$work/python.away"
    try_programs || status=1
    env PYTHONPATH="$work/source/tests" "$host/python" "$here/check_router.py" "$programs/MAPDR/mapdr.exe" \
        "$work/router-frozen" || status=1
    try_license || status=1
    try_installer || status=1
    mv "$work/python.away" "$work/python"
    wineserver -k
    wineserver -w
    use_prefix "$work/prefix"
    return $status
}
