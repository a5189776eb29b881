"""Tables whose rows have names, such as the methods and the task families.

A table holds the library's own rows, the rows that a program adds, and the rows of installed packages (plug-ins). Front
doors, boards, pictures, tests and docs read tables, so a new row is known everywhere at once.
A new table is one `Rows` in the room of what it lists. A function that several tables need belongs here.
This room knows nothing of methods or tasks: it imports the errors alone.
"""

from bmaml.rows.by_path import check_path as check_path
from bmaml.rows.by_path import import_module as import_module
from bmaml.rows.by_path import imported as imported
from bmaml.rows.by_path import is_path as is_path
from bmaml.rows.lookup import pick as pick
from bmaml.rows.plugins import import_plugins as import_plugins
from bmaml.rows.table import PluginWarning as PluginWarning
from bmaml.rows.table import Rows as Rows
