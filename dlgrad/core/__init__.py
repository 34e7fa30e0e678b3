"""What every operation stands on: storage, views, the tape, creation, and the gradients."""
