"""Write trained models for programs without dl_lab: as ONNX, as a program of torch.export, or as safetensors.

Read `export` first: it traces a model with its preprocessing, writes it in a format, and verifies what it has written.
"""
