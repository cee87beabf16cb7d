"""Cold against warm, measured on the host itself: `warmset bench`."""
