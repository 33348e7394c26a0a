"""Steps that change pixels: regions that are blanked."""
