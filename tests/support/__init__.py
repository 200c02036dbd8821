"""What the tests share: commands as processes, tiny networks, files to read, faults to inject."""
