"""The network of ``good-seg``."""

from torch import Tensor, nn

from segzoo import Params


class Plain(nn.Module):
    """One convolution for the features and one for the scores."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(in_channels, 4, kernel_size=3, padding=1)
        self.head = nn.Conv2d(4, num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        logits: Tensor = self.head(self.encoder(image))
        return logits


def build(params: Params, *, in_channels: int, num_classes: int) -> Plain:
    """Return the network."""
    return Plain(in_channels=in_channels, num_classes=num_classes)
