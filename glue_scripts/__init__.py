"""Entry points of the Glue jobs: arguments in, one call into the package."""
