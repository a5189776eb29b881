"""The one training loop, and what it runs.

`loop.py` runs meta-steps in compiled chunks. `meta_step.py` is one meta-step, `plan.py` its settings, `optimisers.py`
the outer step, and `run.py` a run that is saved, loaded and resumed. `records.py` makes the records of metrics,
`keeper.py` writes them and the checkpoints, and `callbacks.py` is what a user's code may hear; `early_stopping.py` and
`trackers.py` are callbacks. `processes.py` joins several processes into one training. Every method trains through this
loop, policies included. Randomness is a function of the seed and the step, so a resumed run equals the uninterrupted
one bit for bit. A new file here must keep that, and must put no callback into the compiled program. A new outer
optimiser subclasses `AbstractOuter` in `optimisers.py`.
"""
