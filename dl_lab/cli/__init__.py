"""The command line: Hydra's entry point, options, exit statuses and one-line errors. Read `app` first."""
