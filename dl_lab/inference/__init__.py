"""Use trained models without the data that they were trained on: prediction, generated text, export.

Read `trained` first: it loads a model from a run folder, with all that it needs.
"""
