"""The process table of this machine, through psutil."""

from warmset.adapters.procs.pid_space import read_pid_space
from warmset.adapters.procs.table import ProcessTable

__all__ = ["ProcessTable", "read_pid_space"]
