"""The configuration of a run: schemas, composition by Hydra, parsing and error messages. Read `parse` first."""
