"""Every error FLAME raises on purpose. Each message names the operation, the values and the way out."""


class FlameError(Exception):
    """Base class: catch this to catch everything FLAME raises on purpose."""


class ShapeError(FlameError, ValueError):
    """Shapes do not fit the operation."""


class DTypeError(FlameError, TypeError):
    """Dtypes do not fit the operation."""


class IndexingError(FlameError, IndexError):
    """A dimension or an index lies outside its range."""


class DivisionError(FlameError, ZeroDivisionError):
    """Integers were divided by the number 0."""


class GradError(FlameError, RuntimeError):
    """A gradient was asked for that does not exist."""


class DeviceError(FlameError, RuntimeError):
    """A device was asked for that is not there, or tensors live on different ones."""


class FreedError(FlameError, RuntimeError):
    """A value was used after its memory was freed or donated to another."""


class ExportError(FlameError, BufferError):
    """Memory cannot be given to another library, or taken from it, as asked."""


class OutOfMemoryError(FlameError, MemoryError):
    """The pool has no memory left; the message says who holds what."""


class CompileError(FlameError, RuntimeError):
    """A printed kernel did not compile; the message names its source file."""


class MissingError(FlameError, ImportError):
    """An optional package is needed; the message says how to install it."""


class ValidationError(FlameError, RuntimeError):
    """FLAME_VALIDATE=1 found a kernel or a plan that differs from the oracle."""


class LinAlgError(FlameError, RuntimeError):
    """A matrix is not what an operation of linear algebra needs: it is singular, or not positive definite."""

    operation = ""  # the operator that found it


class ConfigError(FlameError, ValueError):
    """A knob (environment variable or `config` attribute) was given a value or a name it does not know."""


class AnomalyError(FlameError, RuntimeError):
    """A nan was made while `detect_anomaly` watched."""


class StateError(FlameError, RuntimeError):
    """A state_dict does not fit the module or the optimizer that should load it."""


class CheckpointError(FlameError, ValueError):
    """A file of weights or of training state is damaged, hostile, or of a kind that FLAME does not read."""


class DataError(FlameError, ValueError):
    """A data loader was given options that contradict each other, or samples that make no batch."""


class WorkerError(FlameError, RuntimeError):
    """A worker of a data loader died, or gave no batch in time; the message says which."""
