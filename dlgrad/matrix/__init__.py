"""Operations on matrices: products, factorizations, systems of equations, spectra."""
