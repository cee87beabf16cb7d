"""What fits together, where, and why the rest does not."""
