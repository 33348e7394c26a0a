"""Steps of the header: elements are edited, pixels stream from the spool."""
