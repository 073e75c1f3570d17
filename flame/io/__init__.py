"""Files: weights in safetensors and PyTorch's formats, and whole training states that survive a kill."""

from flame.io.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from flame.io.reading import load, load_model
from flame.io.torchsave import save
from flame.io.weights import load_file, safe_open, save_file, save_model
