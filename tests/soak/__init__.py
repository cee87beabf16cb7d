"""The whole system under seeded mishaps: stories, lives, laws, and guards taken out one by one."""
