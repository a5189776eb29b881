"""Methods made for a kind of tasks, with tuned settings: sinusoids, tables and images.

A recipe makes a method for one kind of tasks: sinusoids, other families, tables or images. It offers the networks that
suit these tasks, takes the tuned settings from the method's row in `bmaml.methods.METHODS`, and returns the method, its
training tasks and its plan. The estimators, the command line, boards, figures and benchmarks all ask recipes, so a
setting has one place. A new kind of tasks is one new file with an `Offer`. New settings need a line in the results that
shows how they were chosen, and on which tasks. The tasks of the reported scores must not be among them.
"""
