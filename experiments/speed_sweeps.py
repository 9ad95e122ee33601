"""`python -m experiments.speed_sweeps` runs experiments/benchmarks/speed_sweeps.py."""

from experiments.benchmarks.speed_sweeps import main

if __name__ == "__main__":
    main()
