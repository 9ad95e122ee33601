"""The command line: Hydra's entry point, its options, exit statuses and one-line errors. Read `app` first."""
