"""The S4GAN discriminator: is this label map drawn by a person or by the student?"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Discriminator(nn.Module):
    """cat(class probabilities, image in [0, 1]) [B, C + 3, H, W] -> score logits [B], feature [B, 512].

    The score is a logit (BCE-with-logits trains it; its sigmoid is the probability of "real"); the feature is the
    globally pooled last map, for feature matching. Global pooling takes any H and W from 16.

    Source: Mittal et al. 2019 (S4GAN). With 21 classes: 2,778,561 parameters.
    """

    widths = (64, 128, 256, 512)
    dropout = 0.5  # after each convolution but the last

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((num_classes + 3, *self.widths)):
            conv = nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1)
            layers += [conv, nn.LeakyReLU(0.2), nn.Dropout2d(self.dropout)]
        self.features = nn.Sequential(*layers[:-1])
        self.score = nn.Linear(self.widths[-1], 1)

    def forward(self, label_and_image: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.features(label_and_image).mean(dim=(2, 3))
        return self.score(feature).squeeze(1), feature
