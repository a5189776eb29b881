"""From a prior and the data of one task to a posterior.

Priors, posteriors, particles and acquisitions are here, and so are the three axes of the gradient family: directions,
adjoints and curvature. `svgd` and the Stein discrepancy work on any log density. A new posterior subclasses
`AbstractPosterior`, and a new prior subclasses `AbstractPrior`. A new direction or curvature is one file in its own
folder. Code here sees one task at a time, and `vmap` adds the task axis.
"""
