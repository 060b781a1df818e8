"""Convolutions with their activation, as most networks here stack them."""

from __future__ import annotations

from torch import Tensor, nn


def conv_prelu(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution and a PReLU with one slope per channel: (N, C, H, W) -> (N, C', H/stride, W/stride)."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)
    return nn.Sequential(convolution, nn.PReLU(channels_out))


def deconv_prelu(channels_in: int, channels_out: int) -> nn.Sequential:
    """A transposed 4x4 convolution of stride 2 and a PReLU: (N, C, H, W) -> (N, C', 2 H, 2 W)."""
    return nn.Sequential(nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1), nn.PReLU(channels_out))


def conv_leaky_relu(
    channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, slope: float = 0.1
) -> nn.Sequential:
    """A convolution and a LeakyReLU: (N, C, H, W) -> (N, C', H/stride, W/stride)."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)
    return nn.Sequential(convolution, nn.LeakyReLU(slope, inplace=True))


class DoubleConv(nn.Module):
    """Two convolutions with PReLU, the first of which has a stride: (N, C, H, W) -> (N, C', H/stride, W/stride)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = conv_prelu(channels_in, channels_out, stride=stride)
        self.conv2 = conv_prelu(channels_out, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H/stride, W/stride)."""
        features: Tensor = self.conv2(self.conv1(x))
        return features
