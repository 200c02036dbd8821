"""The commands: one file each, and what they share.

`base` has the parser class and the exit codes, `given` which options a command line gives.
"""
