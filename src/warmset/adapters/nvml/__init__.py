"""NVIDIA GPUs through nvidia-ml-py, owned by one daemon thread that nobody waits for too long."""

from warmset.adapters.nvml.probe import NvmlProbe

__all__ = ["NvmlProbe"]
