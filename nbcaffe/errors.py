"""What can go wrong, by kind; every message says where, what, expected, got, and what to do."""


class NbcaffeError(Exception):
    """Base of all errors a user can cause; scripts and notebooks print it as one message without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(NbcaffeError):
    """A mistake in a net or solver file, or in a parameter."""


class ShapeError(NbcaffeError):
    """Blobs whose shapes do not fit together."""


class NumericError(NbcaffeError):
    """A NaN or an infinity where a number belongs."""


class LabelError(NbcaffeError):
    """A label outside the classes of its layer."""


class DataError(NbcaffeError):
    """A data file that is missing, truncated or not what the net expects."""


class SnapshotError(NbcaffeError):
    """A snapshot that cannot be written or does not belong to this net."""


class DeviceError(NbcaffeError):
    """A device that is not there."""


class CheckError(NbcaffeError):
    """A layer that does not do what every layer must."""


class KernelError(NbcaffeError):
    """A kernel body that cannot be compiled."""
