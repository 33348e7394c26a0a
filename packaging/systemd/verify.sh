#!/bin/bash
# Tries `mapdr service` with a real systemd, which runs in namespaces of its own: its own processes, mounts, and copy
# of /etc; of the machine it sees the programs, read-only in effect, and changes nothing.
#
# usage: packaging/systemd/verify.sh      (as root, about three minutes)
#
#   PYTHON   a Python outside of the homes, which the service's account can run, with venv (default: /usr/bin/python3)
#
# Ends with 0 and "passed", with 1 and "FAILED", or with 77 and "skipped" where something is missing: nothing was
# shown then.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-/usr/bin/python3}
skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*"; exit 1; }

[ "$(id -u)" = 0 ] || skip "only root makes namespaces"
[ -x /lib/systemd/systemd ] || skip "systemd is not here"
for program in unshare runuser useradd echoscu dcmsend; do
    command -v "$program" >/dev/null || skip "$program is not here"
done
"$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || skip "$python is no Python 3.11"
kinds=(--mount --pid --fork --uts --ipc --cgroup --mount-proc --kill-child)
unshare "${kinds[@]}" sh -c 'mount -t tmpfs tmpfs /mnt && mkdir /mnt/c && mount -t cgroup2 cgroup2 /mnt/c' 2>/dev/null \
    || skip "namespaces with their own cgroups cannot be made here"

work=$(mktemp -d -t mapdr-systemd-XXXXXX) || fail "no temporary folder"
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work"/{out,units,etc} && cp -a /etc/. "$work/etc"
"$python" -m venv --copies "$work/mapdr" && "$work/mapdr/bin/pip" -q install "$here/../.." >"$work/pip.log" 2>&1 \
    || { cat "$work/pip.log"; skip "MAPDR cannot be installed"; }
(cd "$work" && mapdr/bin/python -c '
from mapdr.testing import generator
image = next(generator.study("CT", images=1, size=(64, 64)))
open("one.dcm", "wb").write(image.part10())') || fail "no image could be made"
cp "$here/trial.sh" "$work/trial.sh"

# The only units that this systemd knows: nothing of the machine's is started, cleaned up or mounted.
for target in basic sysinit multi-user shutdown network-online local-fs remote-fs umount exit emergency rescue; do
    printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n' >"$work/units/$target.target"
done
printf '[Unit]\nDefaultDependencies=no\nWants=trial.service\n' >"$work/units/trial.target"
cat >"$work/units/systemd-journald.socket" <<'UNIT'
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/systemd/journal/stdout
ListenDatagram=/run/systemd/journal/socket
PassCredentials=yes
UNIT
cat >"$work/units/systemd-journald.service" <<'UNIT'
[Unit]
DefaultDependencies=no
Requires=systemd-journald.socket
After=systemd-journald.socket
[Service]
Type=notify
ExecStart=/lib/systemd/systemd-journald
StandardOutput=null
Sockets=systemd-journald.socket
UNIT
cat >"$work/units/trial.service" <<'UNIT'
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
[Service]
Type=oneshot
ExecStart=/bin/bash /opt/trial.sh
StandardOutput=file:/opt/out/log
StandardError=file:/opt/out/log
UNIT

cat >"$work/begin.sh" <<'BEGIN'
set -e
work=$1
mount --make-rprivate /
mount --bind "$work/etc" /etc
mount --bind "$work" /opt
mount -t tmpfs tmpfs /mnt
mkdir /mnt/empty
mount --bind "$work/units" /usr/lib/systemd/system
for folder in /usr/lib/systemd/system-generators /etc/systemd/system /usr/lib/tmpfiles.d /usr/lib/sysctl.d; do
    [ ! -d "$folder" ] || { mkdir -p "/mnt/empty$folder" && mount --bind "/mnt/empty$folder" "$folder"; }
done
for folder in /tmp /run /srv /var/log /var/lib/systemd; do
    [ ! -d "$folder" ] || mount -t tmpfs tmpfs "$folder"
done
mkdir -p /run/lock
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# In a container it leaves clock, modules and kernel settings alone.
export container=trial
exec /lib/systemd/systemd --system --unit=trial.target --log-target=null --show-status=no
BEGIN
unshare "${kinds[@]}" bash "$work/begin.sh" "$work" >"$work/begin.log" 2>&1 &
systemd=$!
for ((second = 0; second < 400; second++)); do
    [ ! -e "$work/out/ended" ] && kill -0 $systemd 2>/dev/null || break
    sleep 1
done
kill -9 $systemd 2>/dev/null  # and with it all that runs in its namespaces
wait $systemd 2>/dev/null || true
cat "$work/out/log" 2>/dev/null
[ -e "$work/out/passed" ] || { tail -5 "$work/begin.log"; fail "see above"; }
echo "passed: installed, started, killed, hung, reloaded, stopped and removed, by $(systemctl --version | head -1)"
