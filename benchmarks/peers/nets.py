"""Three networks of the two families that run on small devices: residual, and inverted bottlenecks with Relu6 or SiLU."""

from torch import Tensor, nn
from torch.nn import functional

from edgefleet_compress.example.data import LABELS
from edgefleet_compress.workload import InputSpec, OutputSpec, Workload

from .data import augment, split

ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU}


def unit(
    channels_in: int, channels_out: int, size: int, stride: int = 1, groups: int = 1, then: str = ""
) -> nn.Sequential:
    """Return a convolution, its normalization, and an activation if one is named."""
    convolution = nn.Conv2d(channels_in, channels_out, size, stride, size // 2, groups=groups, bias=False)
    last = [ACTIVATIONS[then]()] if then else []
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), *last)


class Residual(nn.Module):
    """Two convolutions, and a way around them."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = unit(channels_in, channels_out, 3, stride, then="relu")
        self.second = unit(channels_out, channels_out, 3)
        same = channels_in == channels_out and stride == 1
        self.around = nn.Identity() if same else unit(channels_in, channels_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        return functional.relu(self.second(self.first(x)) + self.around(x))


class Bottleneck(nn.Module):
    """Wide, depthwise, narrow: the block of MobileNetV2 (Sandler and others, 2018)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, then: str) -> None:
        super().__init__()
        wide = 4 * channels_in
        self.body = nn.Sequential(
            unit(channels_in, wide, 1, then=then), unit(wide, wide, 3, stride, wide, then), unit(wide, channels_out, 1)
        )
        self.around = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        y: Tensor = self.body(x)
        return x + y if self.around else y


class Net(nn.Module):
    """A body, the mean over the picture, and ten scores."""

    def __init__(self, body: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(channels, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28), normalized, to (N, 10) logits."""
        scores: Tensor = self.head(functional.adaptive_avg_pool2d(self.body(x), 1).flatten(1))
        return scores


def res() -> nn.Module:
    """Return a residual network: 174,000 weights, 5.8 million multiplications."""
    return Net(
        nn.Sequential(unit(1, 24, 3, 2, then="relu"), Residual(24, 24, 1), Residual(24, 48, 2), Residual(48, 96, 2)), 96
    )


def mobile(then: str) -> nn.Module:
    """Return a network of bottlenecks: 38,600 weights, 1.2 million multiplications."""
    blocks = (
        Bottleneck(16, 24, 2, then),
        Bottleneck(24, 24, 1, then),
        Bottleneck(24, 40, 2, then),
        Bottleneck(40, 40, 1, then),
    )
    return Net(nn.Sequential(unit(1, 16, 3, 2, then=then), *blocks, unit(40, 128, 1, then=then)), 128)


def mb6() -> nn.Module:
    """Return the network of bottlenecks with Relu6."""
    return mobile("relu6")


def mbs() -> nn.Module:
    """Return the network of bottlenecks with SiLU."""
    return mobile("silu")


NETS = {"res": res, "mb6": mb6, "mbs": mbs}
EPOCHS = {"res": 8, "mb6": 5, "mbs": 4}


def workload(name: str) -> Workload:
    """Return the workload of one network."""
    return Workload(
        name=name,
        make_model=NETS[name],
        train=split("train"),
        validation=split("validation"),
        test=split("test"),
        labels=LABELS,
        input=InputSpec(name="image", datatype="FP32", shape=(-1, 1, 28, 28), layout="NCHW", colour="grey"),
        output=OutputSpec(name="logits", datatype="FP32", shape=(-1, 10), meaning="logits"),
        augment=augment,
    )
