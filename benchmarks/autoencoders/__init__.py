"""Our update and the public trainers' step on the same networks, data and seconds."""
