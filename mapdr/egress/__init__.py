"""Sends payloads and reports the receiver's own final status. Nothing is called delivered that the receiver
has not confirmed.
"""
