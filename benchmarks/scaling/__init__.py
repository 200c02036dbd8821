"""What an update costs on many GPUs: counted, modelled and replayed, not measured."""
