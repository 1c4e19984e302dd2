"""What holds without our database: proofs, published checkpoints, witnesses, and the log compared with them."""
