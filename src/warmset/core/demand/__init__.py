"""When models are asked for: gaps, rates, periods."""
