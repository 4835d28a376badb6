"""``python -m fields <command>``."""

import sys

from fields.cli.main import main

sys.exit(main())
