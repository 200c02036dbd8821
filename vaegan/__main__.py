"""`python -m vaegan`: the command `vaegan`."""

from vaegan.commands.base import leave
from vaegan.commands.checkpoint.main import main

if __name__ == "__main__":
    leave(main())
