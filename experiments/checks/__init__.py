"""What a claim's YAML cannot say: checks of the run folders of trained experiments, and figures made of them."""
