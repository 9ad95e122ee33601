"""`python -m experiments.tables` runs experiments/benchmarks/tables.py."""

from experiments.benchmarks.tables import main

if __name__ == "__main__":
    main()
