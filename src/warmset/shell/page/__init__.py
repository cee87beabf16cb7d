"""The status page of `warmset serve`: one page, rendered here, that only shows."""
