"""The run: batches and their plan, the loop in the worker, and the supervisor that starts, watches and judges it."""
