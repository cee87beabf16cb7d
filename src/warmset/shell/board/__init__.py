"""One picture of a host for the status page, `/api/status.json` and `warmset top`."""
