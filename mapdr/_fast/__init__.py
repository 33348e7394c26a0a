"""The hot paths: each has a plain Python twin (`_*_py.py`), which is the reference and the documentation."""
