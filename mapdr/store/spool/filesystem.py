"""Of what type the file system is that a folder is in, and what that promises."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_REMOTE = {
    *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "network drive"),
}
_IN_MEMORY = {"tmpfs", "ramfs", "RAM disk"}


def is_remote(kind: str) -> bool:
    """Whether a type of file system lies on another machine."""
    return kind in _REMOTE


def is_in_memory(kind: str) -> bool:
    """Whether a type of file system lies in memory."""
    return kind in _IN_MEMORY


if sys.platform == "win32":  # pragma: no cover
    import ctypes

    _DRIVES = {3: "local drive", 4: "network drive", 6: "RAM disk"}  # GetDriveTypeW

    def file_system(folder: Path) -> str:
        """The kind of drive that a folder is on; empty where that is not known."""
        anchor = os.path.splitdrive(folder.absolute())[0] + "\\"
        return _DRIVES.get(ctypes.windll.kernel32.GetDriveTypeW(anchor), "")

else:

    def file_system(folder: Path) -> str:
        """The type of the file system that a folder is in, by its mount point (proc_pid_mountinfo(5)); empty
        where that is not known, as on macOS."""
        try:
            mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace")
            return of_mounts(mounts, os.path.realpath(folder))
        except (OSError, ValueError):
            return ""


def of_mounts(mounts: str, folder: str) -> str:
    """The type that the text of a mountinfo says of a folder: that of the longest mount point above it, of
    several the last. Raises ValueError for a text that is none."""
    longest, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        point = fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4]
        within = folder == point or folder.startswith(point.rstrip("/") + "/")
        if within and len(point) >= longest:
            longest, kind = len(point), fields[fields.index("-") + 1]
    return kind
