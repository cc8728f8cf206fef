"""Opens the app: starts a model worker, builds the page, launches. `--help` lists the options.

The same as `python -m t2ui serve`. The worker process imports this file again, so it stays light.
"""

import sys

from t2ui.cli.main import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
