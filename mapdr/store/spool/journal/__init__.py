"""The journal: where an image is safe after one flush, before its own file is (docs/decisions/0091).

SpoolFile ──▶ journal  append to a segment, flush it; writers share flushes ──▶ Success
              keeper   flushes the images' files behind, many together, then the checkpoint: segments are free
              replay   at the start: writes the files anew of all records behind the checkpoint

record    what stands in a segment, as bytes        segment   the files, their flush, the checkpoint
"""
