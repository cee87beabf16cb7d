"""The step from observed to wanted, as ordered actions."""
