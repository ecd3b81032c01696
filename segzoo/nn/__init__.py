"""Building blocks of the networks in :mod:`segzoo.models`, each after the paper it names."""
