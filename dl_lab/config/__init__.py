"""The configuration of a run: its schemas, its composition by Hydra, and its validation. Read `parse` first."""
