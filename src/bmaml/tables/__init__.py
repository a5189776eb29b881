"""Tables with a task column: reading, checking, encoding and splitting them.

`read.py` and `text_files.py` read CSV and Parquet by Arrow, `cells.py` says what a cell is, and `number_marks.py` which marks
numbers have. `schema.py`, `columns.py` and `fit_columns.py` say what each column means and how its values become numbers.
`tasks.py` makes a task source of the rows. Everything that depends on data (means, categories) is fitted on training tasks
alone and saved in the schema. A new format is one reader that returns a `Table`. A fault in a file is an `InputError` that
names the file, the row and the column.
"""

from bmaml.tables.columns import Column as Column
from bmaml.tables.read import TableLike as TableLike
from bmaml.tables.read import read_table as read_table
from bmaml.tables.report import column_report as column_report
from bmaml.tables.roles import ColumnRoles as ColumnRoles
from bmaml.tables.sampled import read_sample as read_sample
from bmaml.tables.schema import Schema as Schema
from bmaml.tables.schema import fit_schema as fit_schema
from bmaml.tables.table import Reading as Reading
from bmaml.tables.table import Table as Table
from bmaml.tables.tasks import default_shots as default_shots
from bmaml.tables.tasks import informed_shots as informed_shots
from bmaml.tables.tasks import measured as measured
from bmaml.tables.tasks import some_shots as some_shots
from bmaml.tables.tasks import split_tasks as split_tasks
from bmaml.tables.tasks import table_tasks as table_tasks
from bmaml.tables.tasks import task_rows as task_rows
