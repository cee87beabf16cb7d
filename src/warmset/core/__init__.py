"""The decision core: pure functions of values. No time, chance, I/O or third-party import."""
