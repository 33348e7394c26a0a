"""Moves ledger rows through transform and egress, and writes down what the receiver said.

A row ends as delivered only by the receiver's own final status. No destination waits for another; what
cannot be delivered is parked where a person sees it; no row is lost.
"""
