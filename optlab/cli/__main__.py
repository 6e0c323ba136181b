"""`python -m optlab.cli`, where the script is not on the path."""

from optlab.cli._main import script

script()
