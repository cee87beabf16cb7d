"""What keeping a model is worth, and who goes first."""
