"""Files: weights in safetensors and PyTorch's formats, and whole training states that survive a kill."""

from flame.io.weights import load_file, load_model, safe_open, save_file, save_model
