"""Operations on any tensor, by subject: arithmetic, reductions, movement, indexing, order."""
