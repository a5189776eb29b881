"""The leaderboard: every method on the same tasks.

`arenas.py` says what is compared: a family of tasks, a table or a set of images. `run.py` trains and scores, and keeps
what is finished, and `cluster.py` does the trainings as jobs of a cluster. `standings.py` turns scores into tables with
intervals. A new arena is one class in `arenas.py` that supplies its methods, its training tasks and its test tasks.
"""
