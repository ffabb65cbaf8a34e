"""The example: a small residual network on a part of Fashion-MNIST, which comes with this package."""
