"""AMD and Intel GPUs through the kernel's DRM files: no driver library needed."""

from warmset.adapters.drm.probe import DrmProbe

__all__ = ["DrmProbe"]
