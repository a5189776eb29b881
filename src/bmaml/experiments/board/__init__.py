"""The leaderboard: every method on the same tasks."""
