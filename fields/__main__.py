"""``python -m fields <command>``."""

import sys

from fields.cli import main

sys.exit(main())
