"""Tickets from elsewhere: a spreadsheet, a ServiceNow log, a file of the earlier library.

Every import may be repeated: what is there already is left alone and counted as present. A row that makes no sense is
reported with its line, the others go on, and nothing is half-written. What lies in the past wakes nobody up.
"""

from ticket_system.imports.earlier import import_legacy
from ticket_system.imports.servicenow import import_servicenow
from ticket_system.imports.spreadsheet import import_csv
from ticket_system.imports.summary import ImportSummary, Problem, Progress

__all__ = ["ImportSummary", "Problem", "Progress", "import_csv", "import_legacy", "import_servicenow"]
