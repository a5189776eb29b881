"""The lecture as a tour that runs: from gradient descent to Bayesian meta-learning, a page for each chapter.

A chapter is one Markdown file in `pages`. It holds the formula, lines of this library that do just that, the picture that
these lines draw, and what was found. The site shows the file, and `bmaml lecture` runs its lines, so a chapter is written
once. A new chapter is one new file there: its name starts with its number. Images and links are relative to `docs/`.
"""

from bmaml.lecture.chapters import Chapter as Chapter
from bmaml.lecture.chapters import chapters as chapters
