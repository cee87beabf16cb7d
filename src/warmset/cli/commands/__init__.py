"""One module per verb, imported only when that verb runs."""
