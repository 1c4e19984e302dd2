"""What a run leaves behind: events, its curve, the loss of each row, checkpoints to go on from, the model's files."""
