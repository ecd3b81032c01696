"""The network of ``misshapen-seg``: it forgets to enlarge what it scored."""

from torch import Tensor, nn

from segzoo import Params


class Misshapen(nn.Module):
    """Scores at half the image's size."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(in_channels, 4, kernel_size=3, stride=2, padding=1)
        self.head = nn.Conv2d(4, num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits of half the size."""
        logits: Tensor = self.head(self.encoder(image))
        return logits


def build(params: Params, *, in_channels: int, num_classes: int) -> Misshapen:
    """Return the network."""
    return Misshapen(in_channels=in_channels, num_classes=num_classes)
