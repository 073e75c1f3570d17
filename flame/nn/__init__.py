"""What models are made of, under torch.nn's names."""

from flame.nn import adapters, functional, init, utils
from flame.nn.activation import *
from flame.nn.adapters import DoRA, LoRA
from flame.nn.adaptive import AdaptiveLogSoftmaxWithLoss
from flame.nn.attention import FlashAttention, KeyValueCache, MultiHeadAttention, MultiheadAttention
from flame.nn.containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from flame.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from flame.nn.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout
from flame.nn.embedding import Embedding, EmbeddingBag
from flame.nn.layers import Bilinear, Linear
from flame.nn.lazy import (
    LazyBatchNorm1d,
    LazyBatchNorm2d,
    LazyBatchNorm3d,
    LazyConv1d,
    LazyConv2d,
    LazyConv3d,
    LazyConvTranspose1d,
    LazyConvTranspose2d,
    LazyConvTranspose3d,
    LazyInstanceNorm1d,
    LazyInstanceNorm2d,
    LazyInstanceNorm3d,
    LazyLinear,
)
from flame.nn.loss import *
from flame.nn.module import Module
from flame.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    LocalResponseNorm,
    RMSNorm,
    SyncBatchNorm,
)
from flame.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
from flame.nn.pooling import *
from flame.nn.rnn import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNBase, RNNCell, RNNCellBase
from flame.nn.shaping import *
from flame.nn.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
