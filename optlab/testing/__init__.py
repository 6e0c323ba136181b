"""Testing: the contract, for every gradient transformation, schedule and initializer.

_transformations   `check_transformation`: runs the catalogue on a factory
_schedules, _initializers   the same for schedules and initializers
_clauses           what a clause is, catalogues, and how a subject is judged
_clauses_signature, _structure, _compilation, _values, _storage, _usage, _symmetry   the clauses
_subject, _compare   what clauses are written with
_report            results as a table, JSON, a truth value
_pytest            `conforms`: a pytest test a clause
strategies         Hypothesis strategies (needs hypothesis; import it by itself)
"""

from optlab.testing._clauses import Broken, Clause, NotApplicable
from optlab.testing._initializers import check_initializer
from optlab.testing._pytest import conforms
from optlab.testing._report import Report, Result
from optlab.testing._schedules import check_schedule
from optlab.testing._transformations import check_transformation, clauses

__all__ = [
    "Broken",
    "Clause",
    "NotApplicable",
    "Report",
    "Result",
    "check_initializer",
    "check_schedule",
    "check_transformation",
    "clauses",
    "conforms",
]
