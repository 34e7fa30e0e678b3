"""Operations of neural networks: convolution, pooling, activations, losses, attention."""
