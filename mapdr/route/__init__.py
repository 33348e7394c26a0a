"""Which image goes where, and changed how: a pure function of its header and the association's facts."""
