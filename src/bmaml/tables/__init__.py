"""Tables with a task column: reading, checking, encoding and splitting them."""

from bmaml.tables.columns import Column as Column
from bmaml.tables.read import read_table as read_table
from bmaml.tables.schema import Schema as Schema
from bmaml.tables.schema import fit_schema as fit_schema
from bmaml.tables.table import Table as Table
from bmaml.tables.tasks import default_shots as default_shots
from bmaml.tables.tasks import some_shots as some_shots
from bmaml.tables.tasks import split_tasks as split_tasks
from bmaml.tables.tasks import table_tasks as table_tasks
from bmaml.tables.tasks import task_rows as task_rows
