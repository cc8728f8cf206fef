"""`python -m t2ui …`"""

from t2ui.cli.main import main

if __name__ == "__main__":
    main()
