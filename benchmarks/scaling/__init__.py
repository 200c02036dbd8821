"""The cost of an update on many GPUs: counted, modelled and replayed, not measured."""
