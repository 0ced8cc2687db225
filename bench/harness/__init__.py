"""What bench/run and the other programs beside it share."""
