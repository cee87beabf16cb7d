"""The process table of this machine, through psutil."""

from warmset.adapters.procs.clients import read_clients
from warmset.adapters.procs.pid_space import read_pid_space
from warmset.adapters.procs.table import ProcessTable

__all__ = ["ProcessTable", "read_clients", "read_pid_space"]
