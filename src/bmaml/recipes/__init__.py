"""Settings that were tuned: for sinusoids, for tables and for images.

A recipe is data: the settings of a method, its network and its training plan for one kind of tasks. The estimators, the
command line, boards, figures and benchmarks all read recipes here. So a setting has one place. A new recipe needs a
line in the results that shows how it was chosen, and on which tasks. The tasks of the reported scores must not be among
them.
"""
