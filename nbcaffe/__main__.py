"""``python -m nbcaffe VERB ...`` is the console command."""

import sys

from nbcaffe.cli import main

sys.exit(main())
