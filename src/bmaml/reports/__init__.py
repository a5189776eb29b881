"""Reports: a saved model as one page for colleagues, as HTML, Markdown or JSON.

A report is sections of sentences, tables and pictures, and the numbers behind them (`parts.py`). For each kind of model one
file says what its report holds. `write.py` turns a report into a file and knows nothing of models. A new kind of model is one
new file, and a line in `build.py`. A name that a user gave never becomes HTML, Markdown or a formula.
"""

from bmaml.reports.build import report as report
from bmaml.reports.write import write_report as write_report
