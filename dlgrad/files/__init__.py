"""Reading and writing tensors: PyTorch's files, safetensors, NumPy's files, GGUF."""
