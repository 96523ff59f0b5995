"""The engines to compare with, one file each: how a layer becomes a call of it, as its users would write it."""

from numbaconv.bench.peer import Peer
from numbaconv.bench.peers import jax, ncnn, onnxruntime, openvino, scipy, torch

PEERS = {
    "torch": Peer(("torch",), torch.make, prepared=False),
    "onnxruntime": Peer(("onnxruntime", "onnx"), onnxruntime.make, prepared=True),
    "openvino": Peer(("openvino", "onnx"), openvino.make, prepared=True),
    "ncnn": Peer(("ncnn",), ncnn.make, prepared=True),
    "scipy": Peer(("scipy",), scipy.make, prepared=False),
    "jax": Peer(("jax",), jax.make, prepared=False),
}


def checked(names: str) -> tuple[str, ...]:
    """The peers that a list with commas names; ValueError where one is unknown, `MissingError` where not installed."""
    peers = tuple(name for name in names.split(",") if name)
    unknown = sorted(set(peers) - set(PEERS))
    if unknown:
        raise ValueError(f"--against {','.join(unknown)}: the peers are {', '.join(PEERS)}")
    for peer in peers:
        PEERS[peer].check()
    return peers
