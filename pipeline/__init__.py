"""Consistent EDM: equivariant diffusion and consistency models of molecules, as a reproducible pipeline."""
