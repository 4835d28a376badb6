"""Run the command line as ``python -m fields COMMAND``."""

import sys

from fields.cli.main import main

sys.exit(main())
