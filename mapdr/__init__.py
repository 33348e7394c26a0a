"""MAPDR, a DICOM router: receive -> store -> transform -> egress.

Each word is a folder. `receive` takes images off the wire, `store` keeps them, their index and the
ledger of what is owed to whom, `transform` changes them by recipe, `egress` sends them and reports the
receiver's own final status. `kernel` holds what they share; `deliver` moves ledger rows through
transform and egress; `route` decides which destinations an image has; `notify` tells other systems.
"""

__version__ = "0.1.0"
