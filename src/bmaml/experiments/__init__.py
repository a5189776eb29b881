"""Experiments, each a function that returns numbers.

An experiment is one file with one function. It takes sizes and a seed, and returns rows of numbers. It draws nothing:
`plots` does that. So the numbers can be written as CSV, tested and drawn again. A new experiment also needs a picture
in `plots` and a row in `cli/figure.py`.
"""
