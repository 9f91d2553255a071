"""Puts the service on a machine, and takes it off again.

Needs nothing but Python's own library: it runs before anything else is there.
"""
