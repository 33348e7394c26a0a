# cython: language_level=3
"""The gate of a vendor's build: the vendor's public keys, compiled in, and nothing that gives them away.

It is the one module without a plain twin: `setup.py` builds it where MAPDR_VENDOR_KEY is set, and a build that
cannot is no build. `mapdr.license.gate` is the way to it.
"""

from mapdr.license import standing as _standing, token as _token

include "vendor_keys.pxi"  # cdef tuple vendor_keys(), made by setup.py

# Held from the import on, so that what is put into their modules later changes nothing here.
cdef object _judged = _standing.standing
cdef object _verified = _token.verify


def judge(token, facts, now, record):
    """How the license stands, and what is to be remembered: `mapdr.license.standing.standing`."""
    return _judged(token, facts, now, record, vendor_keys())


def verify(token):
    """The license of a token that the vendor has signed. Raises `mapdr.license.token.WrongToken`."""
    return _verified(token, vendor_keys())
