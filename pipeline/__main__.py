"""`python -m marr_pipeline`."""

from marr_pipeline.cli import main

if __name__ == "__main__":
    main()
