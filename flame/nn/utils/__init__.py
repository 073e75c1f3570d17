"""torch.nn.utils' names, and what else one does to gradients before a step."""

from flame.nn.utils import fusion, parametrizations, parametrize, rnn
from flame.nn.utils.fusion import *
from flame.nn.utils.gradients import *
from flame.nn.utils.spectral import remove_spectral_norm, skip_init, spectral_norm
from flame.nn.utils.weights import remove_weight_norm, weight_norm
