"""The command `vaegan`, for a trained model: one file a subcommand.

`registry` lists the subcommands and explains how to add one, `main` is the command, and `common`
has the options and checks that subcommands share.
"""
