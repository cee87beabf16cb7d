"""What the loop tells the world: metrics, health, the service manager, whoever gets alarms."""
