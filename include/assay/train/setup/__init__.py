"""From the contract and the admitted table to the request: split, preprocessing, arrays, the network's design.

What a run does is decided here, before a worker starts.
"""
