# What verify.sh has systemd run: every step of the life of a service, with a check behind each.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
set -u
folder=/srv/mapdr images=/srv/images
mapdr() { /opt/mapdr/bin/python -m mapdr_cli "$@"; }
trap 'touch /opt/out/ended' EXIT
check() {
    local what=$1
    shift
    if "$@" >/tmp/saying 2>&1; then mv /tmp/saying /tmp/said; echo "ok: $what"; else echo "FAILED: $what"; cat /tmp/saying; exit 1; fi
}
refuses() { ! "$@"; }
shows() { [ "$(systemctl show mapdr -p "$1" --value)" = "$2" ]; }
soon() {
    local try
    for try in $(seq 240); do "$@" && return; sleep 0.5; done
    return 1
}
runs_again() { shows NRestarts "$1" && shows ActiveState active && echoscu -aec "${2:-MAPDR}" 127.0.0.1 104; }
arrived() { [ -n "$(find $images -type f -name '*.dcm')" ]; }

mkdir $folder $images
cat >$folder/mapdr.toml <<CONFIG
[node]
name = "trial"
data = "/srv/data"
[receive.modalities]
type = "dicom"
ae_title = "MAPDR"
host = "127.0.0.1"
port = 104
[egress.disk]
type = "folder"
path = "$images"
[[rule]]
name = "all"
when = {}
send_to = ["disk"]
CONFIG

check "what its account cannot write to is not installed" refuses mapdr service install --config $folder/mapdr.toml
check "and said" grep -q "egress.disk.path: cannot be written to" /tmp/said
check "nor known to systemd" shows LoadState not-found
check "its account was made" chown mapdr $images
check "it is installed" mapdr service install --config $folder/mapdr.toml
check "it is not started by that" shows ActiveState inactive
check "it starts, and returns when the node runs" mapdr service start
check "at once it answers, at a port for which an account needs a right" echoscu -aec MAPDR 127.0.0.1 104
check "its state is said" mapdr service status
check "an account of its own has the data" test "$(stat -c %U:%a /srv/data)" = mapdr:700
check "an image arrives in the folder" dcmsend 127.0.0.1 104 -aec MAPDR /opt/one.dcm
check "all of it" soon arrived
systemctl kill -s KILL mapdr
check "killed, it is started again" soon runs_again 1
systemctl kill -s STOP --kill-whom=main mapdr
check "hung, it is started again by the watchdog" soon runs_again 2
sed -i 's/"MAPDR"/"OTHER"/' $folder/mapdr.toml
check "it is reloaded" systemctl reload mapdr
check "by the changed configuration" echoscu -aec OTHER 127.0.0.1 104
sed -i 's/"OTHER"/"LONGER THAN SIXTEEN"/' $folder/mapdr.toml
check "a wrong configuration is refused by the reload" refuses systemctl reload mapdr
check "and the old one stays" echoscu -aec OTHER 127.0.0.1 104
sed -i 's/"LONGER THAN SIXTEEN"/"OTHER"/' $folder/mapdr.toml
check "it drains and stops" mapdr service stop
check "as its log says" sh -c "/opt/mapdr/bin/python -m mapdr_cli service logs --lines 5 | grep -q ' stopped$'"
check "and stays stopped" shows ActiveState inactive
check "it is removed" mapdr service remove
check "and unknown to systemd" shows LoadState not-found
touch /opt/out/passed
