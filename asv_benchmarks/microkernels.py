"""How fast is a register tile whose operands stay in the first cache? The ceiling of everything built of it."""

from numbaconv.microkernels import peak


class Tiles:
    """Picoseconds for a multiply-add, as asv takes smaller for better; GFLOP/s are 2000 over it."""

    version = "1"
    param_names = ["tile", "dtype"]
    params = [["main", "half", "narrow"], ["float32", "float64"]]
    timeout = 300
    unit = "ps"

    def track_multiply_add(self, tile, dtype):
        return 2000 / peak.measure(dtype, 1, tile)
