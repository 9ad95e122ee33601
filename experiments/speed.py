"""`python -m experiments.speed` runs experiments/benchmarks/speed.py."""

from experiments.benchmarks.speed import main

if __name__ == "__main__":
    main()
