"""Arrays of others: their files read, and what they hold checked before it becomes a cache."""
