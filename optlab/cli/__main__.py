"""`python -m optlab.cli`, where the script is not on the path."""

import sys

from optlab.cli._main import main

sys.exit(main())
