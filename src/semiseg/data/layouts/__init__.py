"""How data sets lie on disk. A layout lists the patches of a root folder and names its classes."""
