"""`python -m t2ui …`"""

from t2ui.cli import main

if __name__ == "__main__":
    main()
