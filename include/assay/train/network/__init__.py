"""What a network is, as JSON: its layers with their sizes, its loss and bundle, and how large it may be.

Nothing here computes anything but sizes.
"""
