"""What one training step needs besides gradients: dropout's masks, privacy's noise, and one gradient out of several.

Both backends take these numbers from here, so that they take the same steps.
"""
