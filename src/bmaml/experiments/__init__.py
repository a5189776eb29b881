"""The experiments of the lecture, each a function that returns numbers."""
