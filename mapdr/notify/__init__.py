"""Turns what happened into events and events into webhooks, from a durable outbox: none is dropped, and no
identifying value goes where nobody asked for it.
"""
