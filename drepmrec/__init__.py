"""The command `drepmrec`: entry point to all command lines of the project.

Nothing imports this package. It imports the package of a command when that command runs, so that
`drepmrec serve` works without the packages that training needs.
"""
