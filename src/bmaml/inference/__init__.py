"""From a prior and the data of one task to a posterior: directions, adjoints, curvature, SVGD, and what to measure next.

A new direction or curvature is one file in its folder: subclass the abstract class in its `base.py`.
"""
