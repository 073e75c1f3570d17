"""torch.nn.functional's names: layers and losses as functions of tensors, written in Tensor operations only."""

from flame.nn.functional.activation import *
from flame.nn.functional.adaptive import *
from flame.nn.functional.attention import *
from flame.nn.functional.columns import *
from flame.nn.functional.conv import *
from flame.nn.functional.distance import *
from flame.nn.functional.dropout import *
from flame.nn.functional.embedding import *
from flame.nn.functional.fractional import *
from flame.nn.functional.grid import *
from flame.nn.functional.layer import *
from flame.nn.functional.loss.binary import *
from flame.nn.functional.loss.classes import *
from flame.nn.functional.loss.ctc import *
from flame.nn.functional.loss.margins import *
from flame.nn.functional.loss.regression import *
from flame.nn.functional.norm import *
from flame.nn.functional.other_names import *
from flame.nn.functional.pool import *
from flame.nn.functional.rearrange import *
from flame.nn.functional.resample import *
from flame.nn.functional.unpool import *
