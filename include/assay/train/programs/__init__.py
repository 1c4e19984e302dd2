"""What is started as `python -m` in a process of its own: the trainer, and two that ask Julia something.

Nothing in this room imports them; they are named on a command line.
"""
