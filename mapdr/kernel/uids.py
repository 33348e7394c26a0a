"""UIDs that the DIMSE protocol itself needs (PS3.6, annex A), and what MAPDR calls itself (PS3.7, D.3.3.2).

`mapdr.dicom.uids` has all others.
"""

from __future__ import annotations

import mapdr

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""DICOM Application Context Name, the only one there is (PS3.7, annex A.2.1)."""
VERIFICATION = "1.2.840.10008.1.1"

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

IMPLEMENTATION_CLASS_UID = "2.25.66778231224464528355323450554281968809"
IMPLEMENTATION_VERSION_NAME = f"MAPDR {mapdr.__version__}"[:16]
"""In associations and in File Meta groups."""
