"""What is wrong with this machine, and what to do about it: one check a line, each small and on its own.

Nothing is imported here, as each process of the doctor's own would load it all.
"""
