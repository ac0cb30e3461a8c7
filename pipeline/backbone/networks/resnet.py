"""The CIFAR ResNet of He et al. (2016): 3 stages of basic blocks, 16, 32 and 64 channels wide.

Depth is 6 n + 2 for n blocks a stage: n = 5 is ResNet-32, n = 1 ResNet-8. A block that halves
the image and doubles the channels has the parameter-free shortcut A: every second pixel, and
zero channels, half of them before and half after. Features are the 64 channel means of the last
stage, after its ReLU; the head is one linear layer with a bias.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.networks.heads import draw_linear

STAGE_WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))), 3 x 3 kernels."""

    def __init__(self, in_width: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.new_channels = width - in_width

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) to (N, width, H / stride, W / stride)."""
        out = relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return relu(out + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.new_channels == 0:
            return x
        half = self.new_channels // 2
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))


class ResNet(Backbone):
    """The network of 6 `blocks_per_stage` + 2 weighted layers."""

    head_aliases = ("linear", "fc")

    def __init__(self, num_classes: int, *, blocks_per_stage: int, in_channels: int) -> None:
        super().__init__()
        first, second, third = STAGE_WIDTHS
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(first, first, blocks_per_stage, stride=1)
        self.layer2 = _stage(first, second, blocks_per_stage, stride=2)
        self.layer3 = _stage(second, third, blocks_per_stage, stride=2)
        self.head = nn.Linear(third, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """(N, 64) of normalised images (N, C, H, W)."""
        x = relu(self.bn1(self.conv1(images)))
        maps: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return maps.mean(dim=(2, 3))


def cifar_resnet(depth: int, num_classes: int, *, in_channels: int, seed: int) -> ResNet:
    """The network of that depth, 6 n + 2, with initial weights from `seed`.

    Convolutions are Kaiming normal, the head uniform in ±1 / sqrt(D). 8 is for the 8 x 8 digits;
    20, 32, 44 and 56 are the published ones, 32 the paper's.
    """
    model = ResNet(num_classes, blocks_per_stage=(depth - 2) // 6, in_channels=in_channels)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    draw_linear(model.head, generator)
    return model


def _stage(in_width: int, width: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(in_width, width, stride=stride)
    rest = [BasicBlock(width, width, stride=1) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest)
