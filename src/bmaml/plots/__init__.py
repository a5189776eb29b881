"""Pictures of numbers.

Each file draws the result of one experiment, and a new picture is one new file. A function takes numbers and returns a
Matplotlib figure. It computes nothing that a reader would want as a number: that belongs to `experiments`. Colours and
sizes come from `style.py`, so one method has one colour in every picture.
"""
