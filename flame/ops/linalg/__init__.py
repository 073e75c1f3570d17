"""torch.linalg's names, as `flame.linalg`: for real float32 and float64 matrices, in batches of any leading dimensions.

Decompositions and solutions are computed by LAPACK through NumPy in the host's memory when they are read: on a GPU the
operands are copied to the host and the results back. What LAPACK cannot do (a singular matrix, say) raises LinAlgError
then. Products, norms and gradients are ordinary lazy operations.
"""

from flame.errors import LinAlgError
from flame.ops.linalg.decompose import *
from flame.ops.linalg.equations import *
from flame.ops.linalg.norms import *
from flame.ops.product import matmul
