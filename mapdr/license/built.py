"""Whether this is a vendor's build. `setup.py` puts another module into the wheel of one."""

VENDOR = False
