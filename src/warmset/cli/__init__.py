"""The command line: thin commands, rendering, exit codes."""
