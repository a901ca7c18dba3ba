"""`python -m dispatcher`: the `dispatcher` command, which serves where it is given no other."""

from dispatcher.cli.main import main

if __name__ == "__main__":
    main(default=("serve",))
