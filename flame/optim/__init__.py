"""Optimizers with torch.optim's names, arguments, defaults, numbers and state_dict layout.

`step()` builds the new parameters and the new state lazily from `.grad`, whatever the user made of it, and realizes all
in one plan, so gradients, their edits and the update fuse. What changes from step to step (learning rate, bias
corrections) reaches the kernels as numbers, so nothing compiles twice.
"""

from flame.optim import lr_scheduler, swa_utils
from flame.optim.adam import Adam, AdamW
from flame.optim.adaptive import Adadelta, Adagrad, RMSprop
from flame.optim.base import Optimizer
from flame.optim.classic import ASGD, Rprop
from flame.optim.large import LAMB, Adafactor, Lion
from flame.optim.lbfgs import LBFGS
from flame.optim.moments import Adamax, NAdam, RAdam
from flame.optim.muon import Muon
from flame.optim.offloading import offload
from flame.optim.quantised import AdamW8bit
from flame.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamW8bit",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "offload",
    "swa_utils",
]
